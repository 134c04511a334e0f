#include "coordinator/pipeline/preflight.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "common/documents.h"
#include "common/error.h"
#include "common/model_description.h"
#include "common/overloaded.h"

namespace longrope {
namespace {

constexpr std::int64_t kShortestSample = 2;  // tokens, of which one can be scored

using PlaceByDigest = std::map<std::string, std::string>;  // "NAME (FILE)"

class Preflight {
 public:
  explicit Preflight(const Config& config) : config_(config), model_(describe_model(config.model)) {}

  void check(const PipelineStage& stage) {
    std::visit(Overloaded{[&](const StageConfig& search) {
                            usable(search.search_documents, search.target_length);
                            usable(search.heldout_documents, search.target_length, &judging_);
                          },
                          [&](const FinetuneStage& finetune) { check_training(finetune, stage); },
                          [&](const EvaluateStage& evaluate) {
                            usable(evaluate.documents, *std::ranges::max_element(evaluate.lengths), &judging_);
                            for (const auto* files : {&evaluate.passkey, &evaluate.needle}) {
                              for (const std::filesystem::path& file : *files) usable_whole(file);
                            }
                          },
                          [](const ExportStage&) {}},
               stage.work);
  }

  void require_apart() const {
    for (const auto& [digest, place] : trained_) {
      if (const auto judge = judging_.find(digest); judge != judging_.end()) {
        throw InputError(fmt::format("a document that is trained on must not be held out or evaluated: {} is {}", place,
                                     judge->second));
      }
    }
  }

 private:
  /// Documents that are measured from end to end.
  void usable_whole(const std::filesystem::path& file) const {
    const std::vector<Document> documents = read_documents_for(file, config_.model).documents;
    for (const Document& document : documents) {
      require_scorable({&document, 1}, file, static_cast<std::int64_t>(document.tokens.size()), model_.vocabulary);
    }
  }

  void usable(const std::filesystem::path& file, std::int64_t length, PlaceByDigest* places = nullptr) const {
    const std::vector<Document> documents = read_documents_for(file, config_.model).documents;
    require_scorable(documents, file, length, model_.vocabulary);
    if (places == nullptr) return;
    for (const Document& document : documents) {
      places->emplace(digest(document), fmt::format("{} ({})", document.name, file.string()));
    }
  }

  void check_training(const FinetuneStage& finetune, const PipelineStage& stage) {
    if (finetune.documents.empty()) return;  // the user has their own
    usable(finetune.documents, sample_length(config_.pipeline, stage), &trained_);
    if (const std::optional<std::string> short_documents = finetune.option("short_documents")) {
      usable(*short_documents, finetune.number("short_length", kShortestSample), &trained_);
    }
  }

  const Config& config_;
  ModelDescription model_;
  PlaceByDigest judging_;
  PlaceByDigest trained_;
};

}  // namespace

void require_usable_documents(const Config& config) {
  Preflight preflight(config);
  for (const PipelineStage& stage : config.pipeline) {
    try {
      preflight.check(stage);
    } catch (const InputError& error) {
      throw InputError(fmt::format("stage {}: {}", stage.name, error.what()));
    }
  }
  preflight.require_apart();
}

}  // namespace longrope
