#include "coordinator/pipeline/preflight.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "common/documents.h"
#include "common/error.h"
#include "common/model_description.h"
#include "common/overloaded.h"
#include "coordinator/pipeline/stage_training.h"

namespace longrope {
namespace {

using PlaceByDigest = std::map<std::string, std::string>;  // "NAME (FILE)"

class Preflight {
 public:
  explicit Preflight(const Config& config) : config_(config), model_(describe_model(config.model)) {}

  void check(const PipelineStage& stage) {
    std::visit(Overloaded{[&](const StageConfig& search) {
                            usable(search.search_documents, search.target_length, nullptr, search.search_count);
                            usable(search.heldout_documents, search.target_length, &judging_, search.heldout_count);
                          },
                          [&](const FinetuneStage& finetune) { check_training(finetune, stage); },
                          [&](const EvaluateStage& evaluate) { check_evaluation(evaluate, stage); },
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
  void usable_whole(const std::filesystem::path& file, std::int64_t longest) const {
    const std::vector<Document> documents = read_documents_for(file, config_.model).documents;
    for (const Document& document : documents) {
      const auto length = static_cast<std::int64_t>(document.tokens.size());
      require_scorable({&document, 1}, file, length, model_.vocabulary);
      require_table(length, longest, fmt::format(" ({} of {})", document.name, file.string()));
    }
  }

  static void require_table(std::int64_t length, std::int64_t longest, const std::string& place) {
    if (length <= longest) return;
    throw InputError(fmt::format("what is evaluated must be within the {} tokens of the longest table: {}{}", longest,
                                 length, place));
  }

  void usable(const std::filesystem::path& file, std::int64_t length, PlaceByDigest* places,
              std::optional<std::int64_t> count = std::nullopt) const {
    const std::vector<Document> documents = read_documents_for(file, config_.model).documents;
    require_scorable(documents, file, length, model_.vocabulary);
    if (count && *count > std::ssize(documents)) {
      throw InputError(fmt::format("a stage must take at most the documents there are, {}: {} ({})", documents.size(),
                                   *count, file.string()));
    }
    if (places == nullptr) return;
    for (const Document& document : documents) {
      places->emplace(digest(document), fmt::format("{} ({})", document.name, file.string()));
    }
  }

  void check_training(const FinetuneStage& finetune, const PipelineStage& stage) {
    const TrainingOptions options = training_options(config_, stage);
    if (finetune.built_in()) require_consistent(options);
    if (!finetune.documents.empty()) usable(finetune.documents, options.length, &trained_);
    if (const auto& samples = options.short_samples) {
      const std::int64_t original = model_.geometry.original_length;
      if (finetune.built_in() && samples->length > original) {
        throw InputError(fmt::format("short_length must be at most the {} tokens that the model was trained at: {}",
                                     original, samples->length));
      }
      usable(samples->documents, samples->length, &trained_);
    }
  }

  void check_evaluation(const EvaluateStage& evaluate, const PipelineStage& stage) {
    // A checkpoint reaches as far as the factors that it was trained with.
    const auto trained = std::ranges::find(config_.pipeline, stage.model, &PipelineStage::name);
    const std::int64_t reached =
        trained == config_.pipeline.end() ? model_.scaling.reached_length : factors_length(config_.pipeline, *trained);
    const std::int64_t longest = std::max(reached, factors_length(config_.pipeline, stage));
    const std::int64_t length = *std::ranges::max_element(evaluate.lengths);
    require_table(length, longest, "");
    usable(evaluate.documents, length, &judging_);  // its count is at most, not exactly
    for (const auto* files : {&evaluate.passkey, &evaluate.needle}) {
      for (const std::filesystem::path& file : *files) usable_whole(file, longest);
    }
  }

  const Config& config_;
  ModelDescription model_;
  PlaceByDigest judging_;
  PlaceByDigest trained_;
};

}  // namespace

void require_feasible(const Config& config) {
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
