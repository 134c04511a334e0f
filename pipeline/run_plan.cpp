#include "pipeline/run_plan.h"

#include "common/documents/documents.h"
#include "pipeline/stage.h"
#include "worker/model/memory_estimate.h"

#include <algorithm>

namespace longrope {
namespace {

std::int64_t parameters(const ModelDescription& model) {
  return model.layers * model.layer_weights() + model.vocabulary * model.hidden_size;
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
  return operations / (device_tflops * 1e12 * static_cast<double>(devices)) / kSecondsPerHour;
}

double forward_operations(const ModelDescription& model, std::int64_t tokens) {
  const auto n = static_cast<double>(tokens);
  const auto attention = static_cast<double>(2 * model.layers * model.query_width());
  return 2.0 * static_cast<double>(parameters(model)) * n + attention * n * n;
}

std::int64_t scoring_memory(const ModelDescription& model, ComputeDtype dtype, std::int64_t length) {
  MemoryLayout layout;
  if (dtype == ComputeDtype::kBf16) layout.weight_bytes = layout.arithmetic_bytes = 2;
  return estimate_memory(model, layout, length).total();
}

std::int64_t documents_in(const std::filesystem::path& file, std::optional<std::int64_t> count) {
  return count ? *count : static_cast<std::int64_t>(read_documents(file).documents.size());
}

std::vector<StageCost> plan_run(const Config& config) {
  const ModelDescription model = describe_model(config.model, config.reached_length);
  std::vector<StageCost> stages;
  for (const PipelineStage& stage : config.stages) {
    StageCost& cost = stages.emplace_back(StageCost{.name = stage.name, .kind = std::string(to_string(stage.kind))});
    make_driver(stage)->add_cost(config, model, cost);
  }
  return stages;
}

}  // namespace longrope
