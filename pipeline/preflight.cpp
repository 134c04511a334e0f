#include "pipeline/preflight.h"

#include "common/documents/documents.h"
#include "common/error.h"
#include "common/formats/factors_file.h"
#include "common/model/model_description.h"
#include "common/overloaded.h"
#include "pipeline/shared_text.h"
#include "pipeline/stage_training.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace longrope {
namespace {

class Preflight {
 public:
  Preflight(const Config& config, const StagesOver& over)
      : config_(config), over_(over), model_(describe_model(config.model)) {}

  void check(const PipelineStage& stage) {
    if (over_.skipped.contains(stage.name)) return;
    is_finished_ = over_.finished.contains(stage.name);
    std::visit(Overloaded{[&](const StageConfig& search) { check_search(search, stage); },
                          [&](const FinetuneStage& finetune) { check_training(finetune, stage); },
                          [&](const EvaluateStage& evaluate) { check_evaluation(evaluate, stage); },
                          [](const ExportStage&) {}},
               stage.work);
  }

  void require_apart() const {
    const auto finding = text_.worst();
    if (!finding) return;
    throw InputError(
        fmt::format("a document that is held out or evaluated must not be trained on: {} of the {} stretches of {} "
                    "tokens of {} are, first in {}",
                    finding->shared, finding->stretches, SharedText::kStretch, finding->judge, finding->trained));
  }

 private:
  [[nodiscard]] std::vector<Document> documents_of(const std::filesystem::path& file) const {
    // When they have served they may go.
    if (is_finished_ && !std::filesystem::exists(file)) return {};
    return read_documents_for(file, config_.model).documents;
  }

  /// Tokens that the checkpoint reaches which `stage` takes: as far as the factors that it was trained with.
  [[nodiscard]] std::int64_t reached(const PipelineStage& stage) const {
    const auto trained = std::ranges::find(config_.pipeline, stage.model, &PipelineStage::name);
    if (trained == config_.pipeline.end()) return model_.scaling.reached_length;
    return over_.skipped.contains(trained->name) ? reached(*trained) : factors_length(config_.pipeline, *trained);
  }

  void check_search(const StageConfig& search, const PipelineStage& stage) {
    if (!is_finished_) require_searchable(search, stage);
    usable(search.search_documents, search.target_length, search.search_count);
    judge(search.heldout_documents, usable(search.heldout_documents, search.target_length, search.heldout_count));
  }

  void require_searchable(const StageConfig& search, const PipelineStage& stage) const {
    const std::int64_t reached_length = reached(stage);
    if (search.recovery && search.target_length > reached_length) {
      throw InputError(
          fmt::format("target_length of a recovery must be within the {} tokens that its checkpoint "
                      "reaches: {}",
                      reached_length, search.target_length));
    }
    if (!search.recovery && search.target_length <= reached_length) {
      throw InputError(fmt::format("target_length must exceed the {} tokens that the checkpoint reaches: {}",
                                   reached_length, search.target_length));
    }
    if (search.recovery && search.search.method == SearchMethod::kAuthors) {
      throw InputError("method of a recovery must be longrope or random: authors");
    }
    require_n_hat_taken(search, stage);
  }

  /// Leading positions that keep their angle are for a search that ends a pipeline.
  void require_n_hat_taken(const StageConfig& search, const PipelineStage& stage) const {
    std::int64_t n_hat = *std::ranges::max_element(search.search.n_hat_choices);
    for (const std::filesystem::path& file : search.search.seed_files) {
      n_hat = std::max(n_hat, read_factors(file, search.target_length).n_hat);
    }
    if (n_hat == 0) return;
    const auto refuse = [&](const std::string& why) {
      throw InputError(fmt::format("n_hat must be 0 {}: {}", why, n_hat));
    };
    if (search.recovery) refuse("for a recovery, whose table goes into exports");
    if (!stage.model.empty() || model_.scaling.scaled()) refuse("on a checkpoint that carries rope scaling");
    for (const PipelineStage& taker : config_.pipeline) {
      const bool writes_model = taker.kind == StageKind::kFinetune || taker.kind == StageKind::kExport;
      if (writes_model && taker.factors == stage.name) {
        refuse(fmt::format("for factors that go into a checkpoint, as stage {} does", taker.name));
      }
    }
  }

  /// Documents that are measured from end to end.
  void usable_whole(const std::filesystem::path& file, std::int64_t longest) const {
    for (const Document& document : documents_of(file)) {
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

  std::vector<Document> usable(const std::filesystem::path& file, std::int64_t length,
                               std::optional<std::int64_t> count = std::nullopt) const {
    std::vector<Document> documents = documents_of(file);
    require_scorable(documents, file, length, model_.vocabulary);
    if (!is_finished_ && count && *count > std::ssize(documents)) {
      throw InputError(fmt::format("a stage must take at most the documents there are, {}: {} ({})", documents.size(),
                                   *count, file.string()));
    }
    return documents;
  }

  static std::string place_of(const Document& document, const std::filesystem::path& file) {
    return fmt::format("{} ({})", document.name, file.string());
  }
  void judge(const std::filesystem::path& file, const std::vector<Document>& documents) {
    for (const Document& document : documents) text_.add_judge(document, place_of(document, file));
  }
  void train(const std::filesystem::path& file, const std::vector<Document>& documents) {
    for (const Document& document : documents) text_.add_trained(document, place_of(document, file));
  }

  void check_training(const FinetuneStage& finetune, const PipelineStage& stage) {
    const TrainingOptions options = training_options(config_, stage);
    if (finetune.built_in()) require_consistent(options);
    if (!finetune.documents.empty()) train(finetune.documents, usable(finetune.documents, options.length));
    if (const auto& samples = options.short_samples) {
      const std::int64_t original = model_.geometry.original_length;
      if (finetune.built_in() && samples->length > original) {
        throw InputError(fmt::format("short_length must be at most the {} tokens that the model was trained at: {}",
                                     original, samples->length));
      }
      train(samples->documents, usable(samples->documents, samples->length));
    }
  }

  void check_evaluation(const EvaluateStage& evaluate, const PipelineStage& stage) {
    const std::int64_t longest = std::max(reached(stage), factors_length(config_.pipeline, stage));
    const std::int64_t length = *std::ranges::max_element(evaluate.lengths);
    require_table(length, longest, "");
    judge(evaluate.documents, usable(evaluate.documents, length));  // its count is at most, not exactly
    for (const auto* files : {&evaluate.passkey, &evaluate.needle}) {
      for (const std::filesystem::path& file : *files) usable_whole(file, longest);
    }
  }

  const Config& config_;
  const StagesOver& over_;
  bool is_finished_ = false;  // the stage that is checked
  ModelDescription model_;
  SharedText text_;
};

}  // namespace

void require_feasible(const Config& config, const StagesOver& over) {
  Preflight preflight(config, over);
  for (const bool trains : {false, true}) {  // what judges comes first, to be looked for in what is trained on
    for (const PipelineStage& stage : config.pipeline) {
      if ((stage.kind == StageKind::kFinetune) != trains) continue;
      try {
        preflight.check(stage);
      } catch (const InputError& error) {
        throw InputError(fmt::format("stage {}: {}", stage.name, error.what()));
      }
    }
  }
  preflight.require_apart();
}

}  // namespace longrope
