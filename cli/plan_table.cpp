#include "cli/plan_table.h"

#include "common/size_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <string>

namespace longrope {
namespace {

std::string memory_text(std::int64_t bytes) { return bytes == 0 ? "-" : size_text(bytes); }

}  // namespace

void write_plan(const std::vector<StageCost>& stages, const PlanTableOptions& options, std::ostream& out) {
  StageCost total{.name = "total"};
  out << fmt::format("{:<16} {:<9} {:>9} {:>10} {:>8} {:>10} {:>10} {:>10}", "stage", "kind", "tokens", "candidates",
                     "passes", "all tokens", "FLOP", "memory");
  for (const std::int64_t devices : options.devices) out << fmt::format(" {:>12}", fmt::format("h on {}", devices));
  out << '\n';
  const auto write = [&](const StageCost& stage) {
    const auto or_dash = [](std::int64_t number) { return number == 0 ? std::string("-") : std::to_string(number); };
    out << fmt::format("{:<16} {:<9} {:>9} {:>10} {:>8} {:>10.3g} {:>10.3g} {:>10}", stage.name, stage.kind,
                       or_dash(stage.length), or_dash(stage.candidates), or_dash(stage.passes), stage.tokens,
                       stage.operations, memory_text(stage.memory_bytes));
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
      "Memory of one device that holds the whole model and a document, or a micro-batch, by estimate.\n",
      options.device_tflops);
}

}  // namespace longrope
