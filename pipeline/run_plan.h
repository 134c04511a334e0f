#pragma once

#include "common/model/model_description.h"
#include "config/config.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longrope {

/// What a stage costs at most; stop rules may end a search earlier.
struct StageCost {
  std::string name;             // the stage's
  std::string kind;             // the stage's: "search", "finetune", …
  std::int64_t length = 0;      // tokens of the longest pass; 0: the stage computes nothing
  std::int64_t candidates = 0;  // candidates of a search, 0 for other kinds
  std::int64_t passes = 0;      // forward passes; samples of a fine-tuning
  double tokens = 0.0;          // tokens of all passes
  double operations = 0.0;      // FLOP
  // Bytes by estimate, on a CPU and on a GPU.
  std::int64_t host_memory_bytes = 0;
  std::int64_t gpu_memory_bytes = 0;
  /// How many devices can share it: as many as a search has passes, or a batch samples; 1 for an evaluation, which one
  /// process does.
  std::int64_t max_devices = 1;
  /// Whether somebody else's program does it, on devices that this program does not know.
  bool elsewhere = false;
  /// What was assumed for files that are not there; a sentence each.
  std::vector<std::string> assumptions;

  /// Takes as memory what scoring a document of `length` takes where the whole model is kept.
  void add_scoring_memory(const ModelDescription& model, ComputeDtype dtype);
  void add_passes(const ModelDescription& model, std::int64_t tokens_of_each, std::int64_t count);
  /// Hours on so many devices, each of which sustains so many TFLOP/s. More than can share it are of no use.
  [[nodiscard]] double hours(double device_tflops, std::int64_t devices) const;
};

/// FLOP of one forward pass over `tokens`, causal attention counted as half a square (spec §6.6).
[[nodiscard]] double forward_operations(const ModelDescription& model, std::int64_t tokens);
/// `count`, or without one as many documents as there are in `file`, which is read then; where it is not there, 5 are
/// assumed, as many as the paper searches on, which `cost` then says.
[[nodiscard]] std::int64_t documents_in(const std::filesystem::path& file, std::optional<std::int64_t> count,
                                        StageCost& cost);

/// The model that a run is planned for.
struct PlannedModel {
  ModelDescription description;
  std::string assumption;  // that another description stands in for the model's own; empty: none does
};
/// The description of the configuration's model: config.json of its directory, or, where there is no such directory, of
/// a folder beside the configuration: models/NAME, with NAME that of the directory in lower case and without "-hf" at
/// its end. Throws InputError as describe_model(), and where neither is there.
[[nodiscard]] PlannedModel planned_model(const Config& config);

/// The costs of every stage of a search or a pipeline, on `config.devices` (none: the CPU). Needs neither weights nor
/// documents. Reads the model's description, seed files, and documents files whose number of documents the
/// configuration does not say. Throws InputError for what cannot be read, and for settings that the stage could not
/// begin with (require_search_possible(), require_consistent()). Stages in `over` are left out, but for what later ones
/// take from them: their lengths.
[[nodiscard]] std::vector<StageCost> plan_run(const Config& config, const std::set<std::string>& over = {});

}  // namespace longrope
