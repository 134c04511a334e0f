#pragma once

#include "common/documents/documents.h"
#include "common/model/model_description.h"
#include "config/config.h"
#include "pipeline/shared_text.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// Names of the stages that are over in a pipeline that has run before.
struct StagesOver {
  std::set<std::string> finished;
  std::set<std::string> skipped;
};

/// Reads every documents file that the stages of a pipeline name, and asks of the numbers of each stage what it will
/// ask itself, so that a mistake in a late stage costs no days of the stages before it. Throws InputError naming stage,
/// rule, value and file: no such file or not one of documents, fewer documents than the stage takes, another tokenizer
/// than the model's, a document shorter than its stage needs, a token outside the vocabulary, text that is trained on
/// and also judges (SharedText); a search that does not go beyond its checkpoint, a recovery that does, n̂ > 0 where
/// nothing can express it, and whatever else require_search_possible() refuses; a built-in fine-tuning that
/// require_consistent() refuses, short samples above the original length; an evaluation beyond the longest table.
/// Documents of a finished stage are read only where they are still there; skipped stages are as if they were not
/// there.
void require_feasible(const Config& config, const StagesOver& over);

/// What StageDriver::check() asks of the pipeline around a stage. Not thread-safe.
class Preflight {
 public:
  /// Reads config.json of the configuration's model.
  Preflight(const Config& config, const StagesOver& over);

  /// Checks a stage that is not skipped.
  void check(const PipelineStage& stage);
  /// Refuses text that is trained on and also judges. After all checks; those of judging stages come first.
  void require_apart() const;

  // For the stage that is checked.

  [[nodiscard]] const Config& config() const { return config_; }
  [[nodiscard]] const ModelDescription& model() const { return model_; }
  /// Whether the stage has ended: its documents have served and may be gone.
  [[nodiscard]] bool is_finished() const { return is_finished_; }
  /// Tokens that the checkpoint reaches which `stage` takes: as far as the factors that it was trained with.
  [[nodiscard]] std::int64_t reached_length(const PipelineStage& stage) const;
  /// The documents of `file`, each fit for `length` tokens, at least `count`.
  [[nodiscard]] std::vector<Document> documents(const std::filesystem::path& file, std::int64_t length,
                                                std::optional<std::int64_t> count = std::nullopt) const;
  /// The documents of `file`, each fit to be measured from end to end.
  [[nodiscard]] std::vector<Document> whole_documents(const std::filesystem::path& file) const;
  /// Takes documents that judge, and those that are trained on.
  void judge(const std::filesystem::path& file, const std::vector<Document>& documents);
  void train(const std::filesystem::path& file, const std::vector<Document>& documents);

 private:
  [[nodiscard]] std::vector<Document> documents_of(const std::filesystem::path& file) const;

  const Config& config_;
  const StagesOver& over_;
  ModelDescription model_;
  bool is_finished_ = false;
  SharedText text_;
};

}  // namespace longrope
