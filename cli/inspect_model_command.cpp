#include "cli/command.h"
#include "cli/model_argument.h"
#include "common/error.h"
#include "common/model/expected_tensors.h"
#include "common/model/model_description.h"
#include "common/model/model_directory.h"
#include "common/size_text.h"
#include "config/config.h"
#include "worker/model/memory_estimate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace longrope {
namespace {

std::string biases(const ModelDescription& model) {
  std::vector<std::string> places;
  if (model.query_key_value_bias) places.emplace_back("q, k, v");
  if (model.attention_output_bias) places.emplace_back("o");
  if (model.feed_forward_bias) places.emplace_back("gate, up, down");
  return places.empty() ? "none" : fmt::format("{}", fmt::join(places, ", "));
}

constexpr const char* kGpu = "cuda";

struct InspectArguments {
  std::string directory;
  std::optional<std::int64_t> reached_length;
  std::optional<std::int64_t> length;
  std::string dtype = "fp32";
  std::string device = "cpu";
  bool gradient = false;
  std::int64_t memory_budget = 0;
};

template <typename Value>
void row(const char* name, const Value& value) {
  fmt::print("{:<22} {}\n", name, value);
}

std::string where_weights_lie(const MemoryLayout& layout, const MemoryEstimate& estimate) {
  if (layout.weights == WeightSource::kFiles) return "streamed from their files";
  const bool streamed = layout.on_device && layout.weights == WeightSource::kMemory;
  return size_text(estimate.weights) + (streamed ? ", layers streamed from the host's memory" : "");
}

/// What the backward pass need not compute again.
std::string kept_for(const KeptForGradient& kept) {
  if (kept.attention) return "each layer's input and result of attention";
  return kept.layers_between == 1 ? "each layer's input"
                                  : fmt::format("the input of every {} layers", kept.layers_between);
}

/// What a worker would take on a CUDA device, or on CPU cores without bfloat16 products, which keeps weights of `dtype`
/// and computes in float32. Throws MemoryError when it would refuse.
void print_memory(const ModelDescription& model, const InspectArguments& arguments) {
  constexpr std::int64_t kFloat32Bytes = 4;
  constexpr std::int64_t kBfloat16Bytes = 2;
  const std::int64_t weight_bytes =
      parse_compute_dtype(arguments.dtype) == ComputeDtype::kBf16 ? kBfloat16Bytes : kFloat32Bytes;
  const bool on_gpu = arguments.device == kGpu;
  if (arguments.gradient && on_gpu) throw InputError("gradients of factors must be computed on a CPU: --device cuda");
  const std::int64_t own = on_gpu ? std::numeric_limits<std::int64_t>::max() : available_memory();
  const std::int64_t budget = arguments.memory_budget > 0 ? arguments.memory_budget : own;
  MemoryLayout wanted = on_gpu ? device_layout(weight_bytes) : MemoryLayout{.weight_bytes = weight_bytes};
  if (arguments.gradient) wanted.gradient = KeptForGradient{};
  const MemoryLayout layout = fit_memory(model, wanted, *arguments.length, budget);
  const MemoryEstimate estimate = estimate_memory(model, layout, *arguments.length);
  const bool limited = budget != std::numeric_limits<std::int64_t>::max();
  row("memory budget", limited ? size_text(budget, SizeRounding::kDown) : "none: give that of the device");
  row("memory estimate", fmt::format("{} for {} tokens", size_text(estimate.total(), SizeRounding::kUp),
                                     grouped_digits(*arguments.length)));
  row("  weights", where_weights_lie(layout, estimate));
  if (estimate.layer > 0) row("  layers in use", size_text(estimate.layer));
  row("  each token", size_text(estimate.per_token));
  row("  tile", fmt::format("{} of {} tokens", size_text(estimate.tile),
                            grouped_digits(std::min(layout.tile_tokens, *arguments.length))));
  if (arguments.gradient) row("kept for a gradient", kept_for(*layout.gradient));
  if (limited) {
    row("longest length",
        fmt::format("{} tokens fit the budget", grouped_digits(longest_length(model, wanted, budget))));
  }
}

/// Why a worker could not run the model; nullopt when it can.
std::optional<std::string> why_not_supported(const std::string& directory) {
  try {
    require_usable_weights(describe_model(directory));
    return std::nullopt;
  } catch (const InputError& error) {
    return error.what();
  }
}

void inspect_model(const InspectArguments& arguments) {
  const std::string& directory = arguments.directory;
  if (!std::filesystem::is_directory(directory)) require_model_directory(directory);  // no verdict on what is not there
  if (const auto reason = why_not_supported(directory)) {
    fmt::print("supported: no, because {}\n", *reason);
    throw CLI::RuntimeError(kExitBadInput);
  }
  fmt::print("supported: yes\n");
  const ModelDescription model = described_model(directory, arguments.reached_length);
  row("model", model.name);
  row("architecture", model.architecture);
  row("digest", model_digest(directory));
  row("weights", fmt::format("{} in {} file(s)", model.weights_dtype, weight_files(directory).size()));
  row("layers", model.layers);
  row("hidden_size", model.hidden_size);
  row("intermediate_size", model.intermediate_size);
  row("query heads", model.query_heads);
  row("key-value heads", model.key_value_heads);
  row("head_dim", model.head_dim);
  row("biases", biases(model));
  row("query and key norm", model.query_key_norm ? "yes" : "no");
  row("sliding window",
      model.sliding_window() == 0
          ? std::string("none")
          : fmt::format("{} tokens in {} of {} layers", model.sliding_window(),
                        std::ranges::count_if(model.sliding_windows, [](auto w) { return w > 0; }), model.layers));
  row("rotary_dim", model.geometry.rotary_dim);
  row("rope_theta", model.geometry.rope_theta);
  row("original context", model.geometry.original_length);
  row("rope scaling", model.scaling.scaled() ? model.scaling.type : std::string("none"));
  if (model.scaling.scaled()) {
    row("reached context", model.scaling.reached_length);
    row("its attention factor", model.scaling.beyond_original.attention.value);
    row("its lambda", fmt::format("{:g}", fmt::join(model.scaling.beyond_original.lambda, " ")));
    if (model.scaling.up_to_original.lambda != model.scaling.beyond_original.lambda) {
      row("lambda up to original", fmt::format("{:g}", fmt::join(model.scaling.up_to_original.lambda, " ")));
    }
  }
  row("vocabulary", model.vocabulary);
  row("critical pair", critical_pair(model.geometry, model.geometry.original_length));
  if (arguments.length) print_memory(model, arguments);
}

}  // namespace

void add_inspect_model_command(CLI::App& app) {
  auto* command = app.add_subcommand(
      "inspect-model", "Say whether a Hugging Face model directory is supported, and print what it holds");
  auto arguments = std::make_shared<InspectArguments>();
  add_model(*command, arguments->directory);
  add_reached_length(*command, arguments->reached_length);
  auto* length =
      in_tokens(command->add_option("--length", arguments->length,
                                    "Also estimate the memory that scoring a document of this many tokens takes"))
          ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 31));
  command->add_option("--dtype", arguments->dtype, "Numbers of the weights for the estimate, fp32 or bf16")
      ->needs(length)
      ->capture_default_str();
  command->add_option("--device", arguments->device, "Whose memory to estimate, cpu or cuda")
      ->needs(length)
      ->check(CLI::IsMember({"cpu", kGpu}))
      ->capture_default_str();
  command->add_flag("--gradient", arguments->gradient, "Estimate the memory that score --gradient takes; CPU only")
      ->needs(length);
  add_memory_budget(*command, arguments->memory_budget);
  command->footer(
      "The first line is \"supported: yes\", or \"supported: no, because …\" with exit code 2.\n"
      "Examples:\n  longrope inspect-model models/byte-llama\n"
      "  longrope inspect-model models/byte-llama --length 2097152 --memory-budget 8GiB");
  command->callback([=] { inspect_model(*arguments); });
}

}  // namespace longrope
