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

/// A configuration with every file that it names read and checked: nothing is refused once there is a database.
struct PreparedSearch {
  SearchPlan plan;
  RunRecord run;
  std::map<std::string, Document> documents;  // by digest
};

/// Reads seed files, documents and, for their digest, the weights of `model`, the one that the configuration names;
/// writes nothing. Throws InputError naming rule, value and place: what search_space() refuses, for every stage before
/// the first document is read; fewer documents than a stage takes; a document that is shorter than the target, has a
/// token outside the vocabulary, repeats another or serves two of search, choice and final judgement; another tokenizer
/// than the model's, or two.
[[nodiscard]] PreparedSearch prepare_search(const Config& config, const IdentifiedModel& model);

}  // namespace longrope
