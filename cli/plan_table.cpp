#include "cli/plan_table.h"

#include "common/size_text.h"
#include "pipeline/published_gpus.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ostream>
#include <string>

namespace longrope {
namespace {

std::string or_dash(std::int64_t number) { return number == 0 ? "-" : std::to_string(number); }

std::int64_t memory_of(const StageCost& stage, bool on_gpu) {
  return on_gpu ? stage.gpu_memory_bytes : stage.host_memory_bytes;
}

bool fits(const StageCost& stage, bool on_gpu, std::int64_t memory) {
  return stage.elsewhere || memory == 0 || memory_of(stage, on_gpu) <= memory;
}

double all_hours(const std::vector<StageCost>& stages, double tflops, std::int64_t devices) {
  double hours = 0.0;
  for (const StageCost& stage : stages) hours += stage.hours(tflops, devices);
  return hours;
}

void write_row(const StageCost& stage, std::int64_t memory, const std::string& mark, const std::vector<double>& hours,
               std::ostream& out) {
  out << fmt::format("{:<16} {:<9} {:>9} {:>10} {:>8} {:>10.3g} {:>10.3g} {:>10}", stage.name, stage.kind,
                     or_dash(stage.length), or_dash(stage.candidates), or_dash(stage.passes), stage.tokens,
                     stage.operations, memory == 0 ? "-" : size_text(memory) + mark);
  for (const double each : hours) out << fmt::format(" {:>12.3g}", each);
  out << '\n';
}

void write_table(const std::vector<StageCost>& stages, const PlanTableOptions& options, std::ostream& out) {
  out << fmt::format("{:<16} {:<9} {:>9} {:>10} {:>8} {:>10} {:>10} {:>10}", "stage", "kind", "tokens", "candidates",
                     "passes", "all tokens", "FLOP", "memory");
  const std::vector<std::int64_t> columns = options.device_tflops > 0.0 ? options.devices : std::vector<std::int64_t>{};
  for (const std::int64_t devices : columns) out << fmt::format(" {:>12}", fmt::format("h on {}", devices));
  out << '\n';
  StageCost total{.name = "total"};
  std::int64_t most_memory = 0;
  std::vector<double> total_hours(columns.size(), 0.0);
  for (const StageCost& stage : stages) {
    std::vector<double> hours;
    for (const std::int64_t devices : columns) hours.push_back(stage.hours(options.device_tflops, devices));
    std::ranges::transform(hours, total_hours, total_hours.begin(), std::plus<>());
    const std::int64_t memory = memory_of(stage, options.on_gpu);
    write_row(stage, memory, fits(stage, options.on_gpu, options.device_memory) ? "" : "!", hours, out);
    total.passes += stage.passes;
    total.tokens += stage.tokens;
    total.operations += stage.operations;
    most_memory = std::max(most_memory, memory);
  }
  write_row(total, most_memory, "", total_hours, out);
}

void write_misfits(const std::vector<StageCost>& stages, const PlanTableOptions& options, std::ostream& out) {
  for (const StageCost& stage : stages) {
    if (fits(stage, options.on_gpu, options.device_memory)) continue;
    out << fmt::format("! {} does not fit one device: {} needed, {} available. ", stage.name,
                       size_text(memory_of(stage, options.on_gpu)), size_text(options.device_memory));
    out << (stage.kind == "finetune"
                ? "longrope finetune divides no model among devices: use a trainer that does, with command = "
                  "[\"program\", …] in the stage (docs/pipeline.md).\n"
                : "A document and the model must fit one device: take shorter documents or a larger device.\n");
  }
}

void write_published(const std::vector<StageCost>& stages, ComputeDtype dtype, std::ostream& out) {
  constexpr std::int64_t kMany = 8;
  out << fmt::format("\nHours of all stages by published figures (data sheets; {:.0f} % of the peak is assumed):\n",
                     kSustainedShare * 100.0);
  for (const PublishedGpu& gpu : published_gpus()) {
    const double tflops = kSustainedShare * (dtype == ComputeDtype::kBf16 ? gpu.bf16_tflops : gpu.fp32_tflops);
    const auto memory = static_cast<std::int64_t>(gpu.gibibytes) << 30;
    std::vector<std::string> too_large;
    for (const StageCost& stage : stages) {
      if (!fits(stage, /*on_gpu=*/true, memory)) too_large.push_back(stage.name);
    }
    out << fmt::format("  {:<13} {:>4} GiB  1: {:>9.3g} h  {}: {:>9.3g} h{}\n", gpu.name, gpu.gibibytes,
                       all_hours(stages, tflops, 1), kMany, all_hours(stages, tflops, kMany),
                       too_large.empty() ? "" : fmt::format("  too small for {}", fmt::join(too_large, ", ")));
  }
}

}  // namespace

void write_plan(const std::vector<StageCost>& stages, const PlanTableOptions& options, std::ostream& out) {
  write_table(stages, options, out);
  out << "\nAt most: stop rules may end a search earlier. Memory of one device that holds the whole model and a "
         "document, or a micro-batch, by estimate.\n";
  if (options.device_tflops > 0.0) {
    out << fmt::format("Hours on {}, at {:.3g} TFLOP/s each ({}). An evaluation is one process.\n", options.device_name,
                       options.device_tflops, options.basis);
  } else {
    out << fmt::format("No hours: the speed of {} is not known ({}). Give --device-tflops.\n", options.device_name,
                       options.basis);
  }
  for (const StageCost& stage : stages) {
    for (const std::string& assumption : stage.assumptions) out << fmt::format("Assumed: {}.\n", assumption);
    if (stage.elsewhere) {
      out << fmt::format("{} is done by another program: its hours and memory are those of longrope finetune.\n",
                         stage.name);
    }
  }
  write_misfits(stages, options, out);
  write_published(stages, options.dtype, out);
}

}  // namespace longrope
