#include "evaluation/evaluation_documents.h"

#include "common/documents/retrieval_depth.h"
#include "common/error.h"
#include "common/sha256.h"
#include "evaluation/scoring_task.h"

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <utility>

namespace longrope {
namespace {

double depth_of(const Document& document, const std::string& path) {
  try {
    return retrieval_depth(document.name);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} ({})", error.what(), path));
  }
}

}  // namespace

EvaluatedFile evaluated_file(const std::filesystem::path& path, std::span<const Document> documents) {
  Sha256 hash;
  for (const Document& document : documents) {
    const std::string one = digest(document);
    hash.update(std::as_bytes(std::span(one)));
  }
  return {.file = path.filename().string(), .count = static_cast<std::int64_t>(documents.size()), .digest = hash.hex()};
}

void read_retrieval_documents(RetrievalKind kind, const std::vector<std::string>& paths, const ModelDescription& model,
                              RetrievalDocuments& retrieval) {
  std::map<std::string, std::string> places;  // by digest
  for (const std::string& path : paths) {
    std::vector<Document> documents = read_documents_for(path, model.directory).documents;
    retrieval.files.push_back({kind, evaluated_file(path, documents)});
    for (Document& document : documents) {
      const std::string place = fmt::format("{}, {}", document.name, path);
      const auto [known, is_new] = places.emplace(digest(document), place);
      if (!is_new) {
        throw InputError(
            fmt::format("{} documents must differ: the same are {} and {}", to_string(kind), known->second, place));
      }
      require_measurable({.kind = FitnessKind::kAccuracy}, std::span(&document, 1), path,
                         static_cast<std::int64_t>(document.tokens.size()), model.vocabulary);
      retrieval.documents.push_back({kind, depth_of(document, path), std::move(document)});
    }
  }
}

}  // namespace longrope
