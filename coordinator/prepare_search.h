#pragma once

#include "common/documents/documents.h"
#include "common/model/model_description.h"
#include "config/config.h"
#include "coordinator/core/search_plan.h"
#include "coordinator/store/store.h"

#include <filesystem>
#include <map>
#include <string>

namespace longrope {

/// A configuration with every file it names read and checked: nothing can turn out unusable once workers are asked.
struct PreparedSearch {
  SearchPlan plan;
  RunRecord run;
  std::map<std::string, Document> documents;  // by digest
};

/// Reads model description, weights' digest, documents and seed files. Throws InputError naming rule, value and place:
/// a document shorter than the target, a token outside the vocabulary, another tokenizer than the model's or
/// two of them, the same document for search and held-out, a
/// target not longer than what the model reaches, seeds that do not fit; and on a model that carries rope scaling n̂ > 0
/// and seeds that fall below what it carries.
[[nodiscard]] PreparedSearch prepare_search(const Config& config);
/// The same for a configuration whose model has been described and hashed.
[[nodiscard]] PreparedSearch prepare_search(const Config& config, const IdentifiedModel& model);

}  // namespace longrope
