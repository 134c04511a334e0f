#pragma once

#include "common/documents/documents.h"
#include "common/model/model_description.h"
#include "evaluation/evaluation_report.h"

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace longrope {

/// A text with something hidden in it, and the mask of the answer.
struct RetrievalDocument {
  RetrievalKind kind = RetrievalKind::kPasskey;
  double depth = 0.0;  // share of the filler before what is hidden
  Document document;   // measured at its whole length
};

/// What an evaluation reads of pass keys and needles.
struct RetrievalDocuments {
  std::vector<RetrievalFile> files;  // for the report
  std::vector<RetrievalDocument> documents;
};

/// What a report says of the file `path`, of which `documents` were used.
[[nodiscard]] EvaluatedFile evaluated_file(const std::filesystem::path& path, std::span<const Document> documents);

/// Appends the documents of the files `paths` to `retrieval`, each with the depth that its name says. Throws InputError
/// for documents that `model` cannot be asked (another tokenizer, no mask of the answer), for a name without depth, and
/// for a document that two of the files hold: it would count twice.
void read_retrieval_documents(RetrievalKind kind, const std::vector<std::string>& paths, const ModelDescription& model,
                              RetrievalDocuments& retrieval);

}  // namespace longrope
