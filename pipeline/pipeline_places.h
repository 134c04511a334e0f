#pragma once

#include "common/formats/factors_file.h"
#include "coordinator/store/pipeline_store.h"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

// The output of an evaluate stage: a folder for each model, with its report in three forms.
inline constexpr const char* kEvaluatedCheckpoint = "checkpoint";
inline constexpr const char* kEvaluatedUntouched = "untouched";
inline constexpr const char* kEvaluationFile = "evaluation.json";

/// Where the stages of a pipeline keep what they give, and what they take from each other. NAME.db has the folder
/// NAME.stages beside it (a file with another ending keeps it: NAME.1.stages), with a folder for each stage.
class PipelinePlaces {
 public:
  /// `stages` outlives this.
  PipelinePlaces(const std::filesystem::path& database, std::filesystem::path untouched_model,
                 const std::vector<PipelineStageRecord>& stages);

  [[nodiscard]] std::filesystem::path folder(std::string_view stage) const;
  [[nodiscard]] std::filesystem::path search_database(std::string_view stage) const;
  /// The file that the child processes of a stage print to.
  [[nodiscard]] std::filesystem::path log(std::string_view stage) const { return folder(stage) / "log"; }
  /// The hand-off directory of a fine-tuning that is not built in (hand_off.h).
  [[nodiscard]] std::filesystem::path hand_off(std::string_view stage) const { return folder(stage) / "hand-off"; }
  /// The winner of a search or recovery, a canonical factors file.
  [[nodiscard]] std::filesystem::path winner(std::string_view stage) const;
  [[nodiscard]] FactorsFile::Entry winning_factors(std::string_view stage) const;  // read from it
  [[nodiscard]] std::filesystem::path output(const PipelineStageRecord& stage) const;
  /// Moves the folder of a stage, if there is one, out of the way: it is kept as NAME.1, NAME.2, …, which is returned.
  /// Throws Error when it cannot.
  std::optional<std::filesystem::path> set_aside(std::string_view stage) const;
  /// `output` as PipelineStageRecord::output has it.
  [[nodiscard]] std::filesystem::path recorded(const std::filesystem::path& output) const;

  /// The checkpoint that a fine-tuning gave: that before it when it was skipped. "": the untouched model. Throws
  /// InputError when the fine-tuning is not finished.
  [[nodiscard]] std::filesystem::path checkpoint(const std::string& finetune_stage) const;
  [[nodiscard]] const std::filesystem::path& untouched_model() const { return untouched_model_; }

  [[nodiscard]] const std::vector<PipelineStageRecord>& stages() const { return stages_; }

 private:
  std::filesystem::path base_;    // the database's folder
  std::filesystem::path folder_;  // NAME.stages
  std::filesystem::path untouched_model_;
  const std::vector<PipelineStageRecord>& stages_;
};

/// Whether the stage is finished or skipped.
[[nodiscard]] bool is_over(const PipelineStageRecord& stage);

/// Whether the stage is a search or a recovery, which give tables.
[[nodiscard]] bool searches(const PipelineStageRecord& stage);

/// The database of the search whose factors a user wants: `database` itself, or that of the stage `stage` of a pipeline
/// (without a name, that of the longest search that has begun; of several of one length, the latest). Throws InputError
/// for a stage that is no search, or when none has begun.
[[nodiscard]] std::filesystem::path longest_search_of(const std::filesystem::path& database,
                                                      const std::optional<std::string>& stage);

/// As longest_search_of(), but without a name the database of the latest search that has begun: the one that goes on.
[[nodiscard]] std::filesystem::path search_database_of(const std::filesystem::path& database,
                                                       const std::optional<std::string>& stage);

/// The reports in the output of an evaluate stage, the checkpoint's first.
[[nodiscard]] std::vector<std::filesystem::path> evaluations_of(const std::filesystem::path& output);

}  // namespace longrope
