#include "pipeline/run_plan.h"

#include "common/documents/documents.h"
#include "common/error.h"
#include "pipeline/stage.h"
#include "worker/model/memory_estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

namespace longrope {
namespace {

std::int64_t parameters(const ModelDescription& model) {
  return model.layers * model.layer_weights() + model.vocabulary * model.hidden_size;
}

/// "llama-2-7b" for ".../Llama-2-7b-hf".
std::string stand_in_name(const std::filesystem::path& model) {
  constexpr std::string_view kSuffix = "-hf";
  std::string name = (model / "").parent_path().filename().string();  // whether or not it ends with a slash
  std::ranges::transform(name, name.begin(),
                         [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  return name;
}

}  // namespace

void StageCost::add_passes(const ModelDescription& model, std::int64_t tokens_of_each, std::int64_t count) {
  length = std::max(length, tokens_of_each);
  passes += count;
  tokens += static_cast<double>(count) * static_cast<double>(tokens_of_each);
  operations += static_cast<double>(count) * forward_operations(model, tokens_of_each);
}

double StageCost::hours(double device_tflops, std::int64_t devices) const {
  constexpr double kSecondsPerHour = 3600.0;
  const auto shares = static_cast<double>(std::clamp<std::int64_t>(max_devices, 1, devices));
  return operations / (device_tflops * 1e12 * shares) / kSecondsPerHour;
}

double forward_operations(const ModelDescription& model, std::int64_t tokens) {
  const auto n = static_cast<double>(tokens);
  const auto attention = static_cast<double>(2 * model.layers * model.query_width());
  return 2.0 * static_cast<double>(parameters(model)) * n + attention * n * n;
}

void StageCost::add_scoring_memory(const ModelDescription& model, ComputeDtype dtype) {
  const std::int64_t bytes = dtype == ComputeDtype::kBf16 ? 2 : 4;
  MemoryLayout on_gpu = device_layout(bytes);
  on_gpu.weights = WeightSource::kReady;
  host_memory_bytes = estimate_memory(model, {.weight_bytes = bytes}, length).total();
  gpu_memory_bytes = estimate_memory(model, on_gpu, length).total();
}

std::int64_t documents_in(const std::filesystem::path& file, std::optional<std::int64_t> count, StageCost& cost) {
  if (count) return *count;
  if (std::filesystem::exists(file)) return static_cast<std::int64_t>(read_documents(file).documents.size());
  constexpr std::int64_t kAssumed = 5;
  cost.assumptions.push_back(
      fmt::format("stage {}: {} documents in {}, which is not there", cost.name, kAssumed, file.string()));
  return kAssumed;
}

PlannedModel planned_model(const Config& config) {
  if (std::filesystem::exists(config.model)) return {describe_model(config.model, config.reached_length), ""};
  const std::filesystem::path stand_in = config.file.parent_path() / "models" / stand_in_name(config.model);
  if (!std::filesystem::exists(stand_in)) {
    throw InputError(fmt::format("the model's directory must be there, or a description of it at {}: {} is not",
                                 (stand_in / "config.json").string(), config.model.string()));
  }
  return {describe_model(stand_in, config.reached_length),
          fmt::format("the model is as {} describes it: {} is not there", (stand_in / "config.json").string(),
                      config.model.string())};
}

std::vector<StageCost> plan_run(const Config& config, const std::set<std::string>& over) {
  const auto [model, assumption] = planned_model(config);
  std::vector<StageCost> stages;
  for (const PipelineStage& stage : config.stages) {
    if (over.contains(stage.name)) continue;
    StageCost& cost = stages.emplace_back(StageCost{.name = stage.name, .kind = std::string(to_string(stage.kind))});
    if (stages.size() == 1 && !assumption.empty()) cost.assumptions.push_back(assumption);
    make_driver(stage)->add_cost(config, model, cost);
  }
  return stages;
}

}  // namespace longrope
