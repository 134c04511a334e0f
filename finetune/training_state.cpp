#include "finetune/training_state.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"
#include "common/files/strict_json.h"
#include "common/model/model_description.h"
#include "common/sha256.h"
#include "finetune/tensor_file.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>

namespace longrope {
namespace {

constexpr const char* kFormat = "longrope-training/1";

nlohmann::json to_json(const TrainingStep& step) {
  return {{"step", step.step},
          {"loss", step.loss},
          {"learning_rate", step.learning_rate},
          {"gradient_norm", step.gradient_norm},
          {"documents", step.documents},
          {"short_documents", step.short_documents}};
}

TrainingStep from_json(const nlohmann::json& json) {
  return {.step = json.at("step").get<std::int64_t>(),
          .loss = json.at("loss").get<double>(),
          .learning_rate = json.at("learning_rate").get<double>(),
          .gradient_norm = json.at("gradient_norm").get<double>(),
          .documents = json.at("documents").get<std::vector<std::uint64_t>>(),
          .short_documents = json.at("short_documents").get<std::vector<std::uint64_t>>()};
}

void require_same_settings(const nlohmann::json& theirs, const nlohmann::json& ours, const std::string& place) {
  for (const auto& [key, value] : ours.items()) {
    const nlohmann::json before = theirs.value(key, nlohmann::json());
    if (before != value) {
      throw InputError(fmt::format("a training that continues must keep its settings: {} was {}, is {} ({})", key,
                                   before.dump(), value.dump(), place));
    }
  }
}

void fill(const SafetensorsFile& file, const NamedTensor& named, const std::string& place) {
  const auto found = file.tensors().find(named.name);
  const auto shape = named.tensor.sizes().vec();
  if (found == file.tensors().end() || found->second.dtype != "F32" || found->second.shape != shape) {
    throw InputError(
        fmt::format("a training state must hold F32 tensor {} in the model's shape ({})", named.name, place));
  }
  const at::Tensor copy = at::empty(shape, at::TensorOptions().dtype(at::kFloat));
  std::memcpy(copy.data_ptr(), found->second.bytes.data(), found->second.bytes.size());
  named.tensor.detach().copy_(copy);
}

}  // namespace

nlohmann::json state_settings(const TrainingOptions& options, const TrainingSamples& samples,
                              const std::optional<TrainingSamples>& short_samples, const std::string& arithmetic) {
  nlohmann::json settings = training_identity(options.settings);
  // 0 stands for a size that depends on the length and the processes: what came of it is what counts.
  settings["micro_batch_size"] = samples.micro_batch_size;
  settings["short_micro_batch_size"] = short_samples ? short_samples->micro_batch_size : 0;
  settings["documents"] = samples.digest();
  settings["short_documents"] = short_samples ? short_samples->digest() : "";
  // Random weights depend on the shape of the model alone, and there need not be others.
  settings["model"] =
      options.random_weights ? sha256_of_file(options.model / "config.json") : model_digest(options.model);
  settings["random_weights"] = options.random_weights.value_or(0.0);
  settings["factors"] = options.factors ? digest(*options.factors) : "the model's";
  settings["target_length"] = options.factors ? options.target_length : 0;
  settings["length"] = options.length;
  // Not where it is not said, so that earlier states go on.
  if (options.reached_length) settings["reached_length"] = *options.reached_length;
  settings["processes"] = options.place.count;
  settings["arithmetic"] = arithmetic;
  return settings;
}

void write_training_state(const std::filesystem::path& path, const TrainingState& state,
                          const std::vector<NamedTensor>& tensors) {
  nlohmann::json steps = nlohmann::json::array();
  for (const TrainingStep& step : state.steps) steps.push_back(to_json(step));
  write_tensors(path, tensors, at::kFloat,
                {{"format", kFormat}, {"settings", state.settings.dump()}, {"steps", steps.dump()}});
}

std::optional<TrainingState> read_training_state(const std::filesystem::path& path, const nlohmann::json& settings,
                                                 const std::vector<NamedTensor>& tensors) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const SafetensorsFile file(path);
  const std::string& place = path.native();
  const auto metadata = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  if (metadata("format") != kFormat) {
    throw InputError(fmt::format("a training state must have format {}: {} ({})", kFormat, metadata("format"), place));
  }
  TrainingState state;
  try {
    state.settings = parse_strict_json(metadata("settings"), place);
    for (const nlohmann::json& step : parse_strict_json(metadata("steps"), place)) {
      state.steps.push_back(from_json(step));
    }
  } catch (const nlohmann::json::exception& error) {
    throw InputError(fmt::format("a training state must hold settings and steps: {} ({})", error.what(), place));
  }
  require_same_settings(state.settings, settings, place);
  for (const NamedTensor& named : tensors) fill(file, named, place);
  return state;
}

std::string training_log(const std::vector<TrainingStep>& steps) {
  std::string log;
  for (const TrainingStep& step : steps) log += to_json(step).dump() + "\n";
  return log;
}

}  // namespace longrope
