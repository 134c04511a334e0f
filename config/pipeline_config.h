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
  /// Documents file of the samples. Required when built in; without it a command or the user brings other samples.
  std::filesystem::path documents;
  /// Tokens of each sample. Default 0: the target length of the factors. Shorter samples cost less, and train fewer of
  /// the positions that the factors are for.
  std::int64_t length = 0;
  /// How to train. Given is only what the stage says; the rest has the defaults of TrainingSettings in a built-in
  /// training, and those of recommended_settings() in a hand-off.
  TrainingSettings settings;
  /// Program and arguments that train instead, run in the hand-off directory. Default empty: none.
  std::vector<std::string> command;
  /// Whether the pipeline waits for `longrope stage complete` instead. Default false. Not together with `command`.
  bool by_hand = false;

  /// Whether `longrope finetune` does the training.
  [[nodiscard]] bool built_in() const { return command.empty() && !by_hand; }
};

/// kind = "evaluate": `longrope evaluate` on the checkpoint, with all tables found for it, and on the untouched model.
struct EvaluateStage {
  /// Documents file whose perplexity is measured, each document at least the longest of `lengths`. Required.
  std::filesystem::path documents;
  /// Tokens, BOS included, of the prefixes that are scored; a column of the report for each. Required; at most as long
  /// as the longest table.
  std::vector<std::int64_t> lengths;
  /// Number of documents that are scored, the first of the file; at most, where it has fewer. Default: all. The cost is
  /// proportional.
  std::optional<std::int64_t> count;
  /// Documents files of pass keys and of needles to retrieve, each document measured from end to end
  /// (tools/prepare_documents.py --kind passkey, --kind needle). Default: none, nothing is retrieved.
  std::vector<std::filesystem::path> passkey;
  std::vector<std::filesystem::path> needle;
  /// Whether the configuration's model is evaluated too, under the closed forms, to compare with. Default true; it
  /// about doubles the cost. A stage that takes no fine-tuned checkpoint evaluates that model anyway, once.
  bool untouched = true;
};

/// kind = "export": a Hugging Face directory with the tables of the schedule.
struct ExportStage {
  /// Major version of transformers whose config.json is written: "hf5" or "hf4". Default "hf5".
  std::string target = "hf5";
  /// Whether factors go into the directory although they are worse than the checkpoint without them. Default false: the
  /// stage then fails. No part of the stage's settings: it may be set when the stage has failed.
  bool force = false;
};

/// One step of a pipeline, which takes a checkpoint to its longest context (design §8).
struct PipelineStage {
  /// What other stages, its folder and the database call it. Required.
  std::string name;
  /// Default search.
  StageKind kind = StageKind::kSearch;
  /// Name of the finetune stage whose checkpoint it takes. Default: the latest before it; empty when there is none,
  /// then it takes the configuration's model.
  std::string model;
  /// Name of the search stage whose winner it takes. Default: the latest before it; empty for a search, which takes
  /// none.
  std::string factors;
  /// What only its kind has; SearchStage for "search" and "recover".
  std::variant<SearchStage, FinetuneStage, EvaluateStage, ExportStage> work;
  /// Where it stands, for messages: " (progressive.toml:31)".
  std::string place;
};

/// Target length in tokens of the search in `pipeline` whose factors `stage` takes.
[[nodiscard]] std::int64_t factors_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage);

/// Tokens of each sample of the finetune stage `stage`: its `length`, or else the target length of its factors.
[[nodiscard]] std::int64_t sample_length(const std::vector<PipelineStage>& pipeline, const PipelineStage& stage);

/// Canonical JSON of everything that changes the output of `stage`, except files, which are known by their digests. A
/// stage that has begun does not go on under another one.
[[nodiscard]] nlohmann::json stage_settings(const PipelineStage& stage);

}  // namespace longrope
