#pragma once

#include "config/search_config.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace longrope {

// Numbers and words of the kinds are on disk: never reuse one.
enum class StageKind { kSearch = 0, kFinetune = 1, kRecover = 2, kEvaluate = 3, kExport = 4 };
[[nodiscard]] std::string_view to_string(StageKind kind);  // "search", "finetune", "recover", "evaluate", "export"
[[nodiscard]] StageKind parse_stage_kind(std::string_view text);

/// kind = "finetune" (spec §5.2): `longrope finetune`, a command of the user's, or the user by hand.
struct FinetuneStage {
  std::filesystem::path documents;  // samples; empty when `by_hand` or `command` brings its own
  std::int64_t length = 0;          // tokens of a sample; 0: the target length of the factors
  /// Of `longrope finetune`, as its command line has them ("batch_size" is --batch-size), in the order of the
  /// reference.
  std::vector<std::pair<std::string, std::string>> options;
  std::vector<std::string> command;  // program and arguments, run in the hand-off directory; empty: built in
  bool by_hand = false;              // waits for `longrope stage complete`

  [[nodiscard]] bool built_in() const { return command.empty() && !by_hand; }
  [[nodiscard]] std::optional<std::string> option(std::string_view name) const;
  /// The value of an option that is an integer, or `otherwise`.
  [[nodiscard]] std::int64_t number(std::string_view name, std::int64_t otherwise) const;
};

/// kind = "evaluate": `longrope evaluate` on the checkpoint with all tables found for it, and on the untouched model.
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

/// One step of the road from a checkpoint to its longest context (design §8).
struct PipelineStage {
  std::string name;
  StageKind kind = StageKind::kSearch;
  std::string model;    // the finetune stage whose checkpoint it takes; empty: the configuration's model
  std::string factors;  // the search stage whose winner it takes; empty: none
  std::variant<StageConfig, FinetuneStage, EvaluateStage, ExportStage> work;
  std::string place;  // " (progressive.toml:31)"
};

/// Target length of the factors that `stage` takes, which are those of a search of `pipeline`.
[[nodiscard]] std::int64_t factors_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage);

/// Tokens of a sample of the finetune stage `stage`: its own, or as many as the factors are for that it takes.
[[nodiscard]] std::int64_t sample_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage);

/// Canonical JSON of all that changes what the stage gives, but for files: those are known by their digests.
[[nodiscard]] nlohmann::json stage_settings(const PipelineStage& stage);

}  // namespace longrope
