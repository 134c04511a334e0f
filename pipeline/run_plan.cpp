#include "pipeline/run_plan.h"

#include "common/documents/documents.h"
#include "common/error.h"
#include "common/overloaded.h"
#include "coordinator/core/stage_run.h"
#include "coordinator/search/search_algorithm.h"
#include "evaluation/evaluated_methods.h"
#include "finetune/training_memory.h"
#include "pipeline/stage_training.h"
#include "worker/model/memory_estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <ostream>

namespace longrope {
namespace {

// Of a forward pass: the way back costs two, and with recomputation another one forward.
constexpr double kTraining = 3.0;
constexpr double kRecomputingTraining = 4.0;

std::int64_t parameters(const ModelDescription& model) {
  return model.layers * model.layer_weights() + model.vocabulary * model.hidden_size;
}

std::int64_t documents_in(const std::filesystem::path& file, std::optional<std::int64_t> count) {
  return count ? *count : static_cast<std::int64_t>(read_documents(file).documents.size());
}

std::int64_t scoring_memory(const ModelDescription& model, ComputeDtype dtype, std::int64_t length) {
  MemoryLayout layout;
  if (dtype == ComputeDtype::kBf16) layout.weight_bytes = layout.arithmetic_bytes = 2;
  return estimate_memory(model, layout, length).total();
}

void add_passes(StageCost& cost, const ModelDescription& model, std::int64_t length, std::int64_t passes) {
  cost.length = std::max(cost.length, length);
  cost.passes += passes;
  cost.tokens += static_cast<double>(passes) * static_cast<double>(length);
  cost.operations += static_cast<double>(passes) * forward_operations(model, length);
}

void add_search(const StageConfig& stage, const Config& config, const ModelDescription& model, StageCost& cost) {
  cost.candidates = stage.stop.max_candidates.value_or(static_cast<std::int64_t>(default_budget(stage.search)));
  add_passes(cost, model, stage.target_length,
             cost.candidates * documents_in(stage.search_documents, stage.search_count) +
                 (std::min(stage.finalists, cost.candidates) + std::ssize(kBaselines)) *
                     documents_in(stage.heldout_documents, stage.heldout_count));
  cost.memory_bytes = scoring_memory(model, config.dtype, stage.target_length);
}

void add_finetune(const TrainingOptions& options, const ModelDescription& model, StageCost& cost) {
  const std::int64_t steps = options.schedule.steps;
  add_passes(cost, model, options.length, steps * options.batch_size);
  if (const auto& samples = options.short_samples)
    add_passes(cost, model, samples->length, steps * samples->batch_size);
  cost.operations *= options.recompute ? kRecomputingTraining : kTraining;
  cost.memory_bytes = estimate_training_memory(model, options);
}

void add_evaluation(const EvaluateStage& stage, const Config& config, bool untouched_too, const ModelDescription& model,
                    StageCost& cost) {
  const auto closed_forms = static_cast<std::int64_t>(evaluated_methods({}).size());
  const std::int64_t methods = (untouched_too ? 2 : 1) * closed_forms + 1;  // the checkpoint has its own tables too
  const std::int64_t documents = documents_in(stage.documents, stage.count);
  for (const std::int64_t length : stage.lengths) add_passes(cost, model, length, methods * documents);
  for (const auto* files : {&stage.passkey, &stage.needle}) {
    for (const std::filesystem::path& file : *files) {
      for (const Document& document : read_documents(file).documents) {
        add_passes(cost, model, static_cast<std::int64_t>(document.tokens.size()), methods);
      }
    }
  }
  cost.memory_bytes = scoring_memory(model, config.dtype, cost.length);
}

std::string size_text(std::int64_t bytes) {
  constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;
  return bytes == 0 ? "-" : fmt::format("{:.3g}", static_cast<double>(bytes) / kGibibyte);
}

}  // namespace

double StageCost::hours(double device_tflops, std::int64_t devices) const {
  constexpr double kSecondsPerHour = 3600.0;
  return operations / (device_tflops * 1e12 * static_cast<double>(devices)) / kSecondsPerHour;
}

double forward_operations(const ModelDescription& model, std::int64_t tokens) {
  const auto n = static_cast<double>(tokens);
  const auto attention = static_cast<double>(2 * model.layers * model.query_width());
  return 2.0 * static_cast<double>(parameters(model)) * n + attention * n * n;
}

std::vector<StageCost> plan_run(const Config& config) {
  const ModelDescription model = describe_model(config.model);
  std::vector<StageCost> stages;
  for (const StageConfig& stage : config.stages) {
    StageCost& cost = stages.emplace_back(StageCost{.name = stage.name, .kind = "search"});
    add_search(stage, config, model, cost);
  }
  for (const PipelineStage& stage : config.pipeline) {
    StageCost& cost = stages.emplace_back(StageCost{.name = stage.name, .kind = std::string(to_string(stage.kind))});
    std::visit(Overloaded{[&](const StageConfig& search) { add_search(search, config, model, cost); },
                          [&](const FinetuneStage&) { add_finetune(training_options(config, stage), model, cost); },
                          [&](const EvaluateStage& evaluate) {
                            add_evaluation(evaluate, config, evaluate.untouched && !stage.model.empty(), model, cost);
                          },
                          [](const ExportStage&) {}},
               stage.work);
  }
  return stages;
}

void write_plan(const std::vector<StageCost>& stages, const PlanOptions& options, std::ostream& out) {
  StageCost total{.name = "total"};
  out << fmt::format("{:<16} {:<9} {:>9} {:>10} {:>8} {:>10} {:>10} {:>8}", "stage", "kind", "tokens", "candidates",
                     "passes", "all tokens", "FLOP", "GiB");
  for (const std::int64_t devices : options.devices) out << fmt::format(" {:>12}", fmt::format("h on {}", devices));
  out << '\n';
  const auto write = [&](const StageCost& stage) {
    const auto or_dash = [](std::int64_t number) { return number == 0 ? std::string("-") : std::to_string(number); };
    out << fmt::format("{:<16} {:<9} {:>9} {:>10} {:>8} {:>10.3g} {:>10.3g} {:>8}", stage.name, stage.kind,
                       or_dash(stage.length), or_dash(stage.candidates), or_dash(stage.passes), stage.tokens,
                       stage.operations, size_text(stage.memory_bytes));
    for (const std::int64_t devices : options.devices) {
      out << fmt::format(" {:>12.3g}", stage.hours(options.device_tflops, devices));
    }
    out << '\n';
  };
  for (const StageCost& stage : stages) {
    write(stage);
    total.passes += stage.passes;
    total.tokens += stage.tokens;
    total.operations += stage.operations;
    total.memory_bytes = std::max(total.memory_bytes, stage.memory_bytes);
  }
  write(total);
  out << fmt::format(
      "\nAt most: stop rules may end a search earlier. Hours at {} TFLOP/s sustained by each device (--device-tflops). "
      "GiB of one device that holds the whole model and a document, or a micro-batch, by estimate.\n",
      options.device_tflops);
}

}  // namespace longrope
