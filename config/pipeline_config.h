#pragma once

#include "config/search_config.h"
#include "config/training_settings.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace longrope {

// Numbers and words of the kinds are on disk: never reuse one.
enum class StageKind { kSearch = 0, kFinetune = 1, kRecover = 2, kEvaluate = 3, kExport = 4 };
[[nodiscard]] std::string_view to_string(StageKind kind);  // "search", "finetune", "recover", "evaluate", "export"
[[nodiscard]] StageKind parse_stage_kind(std::string_view text);

/// kind = "finetune" (spec §5.2): `longrope finetune`, a command of the user's, or the user by hand.
struct FinetuneStage {
  std::filesystem::path documents;   // samples; empty when `by_hand` or `command` brings its own
  std::int64_t length = 0;           // tokens of a sample; 0: the target length of the factors
  TrainingSettings settings;         // only what the stage says is given
  std::vector<std::string> command;  // program and arguments, run in the hand-off directory; empty: built in
  bool by_hand = false;              // waits for `longrope stage complete`

  [[nodiscard]] bool built_in() const { return command.empty() && !by_hand; }
};

/// kind = "evaluate": `longrope evaluate` on the checkpoint, with all tables found for it, and on the untouched model.
struct EvaluateStage {
  std::filesystem::path documents;
  std::vector<std::int64_t> lengths;
  std::optional<std::int64_t> count;  // first documents of the file; all by default
  std::vector<std::filesystem::path> passkey;
  std::vector<std::filesystem::path> needle;
  bool untouched = true;
};

/// kind = "export": a Hugging Face directory with the tables of the schedule.
struct ExportStage {
  std::string target = "hf5";
};

/// One step of a pipeline, which takes a checkpoint to its longest context (design §8).
struct PipelineStage {
  std::string name;
  StageKind kind = StageKind::kSearch;
  std::string model;    // the finetune stage whose checkpoint it takes; empty: the configuration's model
  std::string factors;  // the search stage whose winner it takes; empty: none
  std::variant<StageConfig, FinetuneStage, EvaluateStage, ExportStage> work;
  std::string place;  // " (progressive.toml:31)"
};

/// Target length in tokens of the search in `pipeline` whose factors `stage` takes.
[[nodiscard]] std::int64_t factors_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage);

/// Tokens of each sample of the finetune stage `stage`: its `length`, or else the target length of its factors.
[[nodiscard]] std::int64_t sample_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage);

/// Canonical JSON of everything that changes the output of `stage`, except files, which are known by their digests. A
/// stage that has begun does not go on under another one.
[[nodiscard]] nlohmann::json stage_settings(const PipelineStage& stage);

}  // namespace longrope
