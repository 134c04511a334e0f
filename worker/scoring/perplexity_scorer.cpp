#include "worker/scoring/perplexity_scorer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <chrono>
#include <fstream>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "common/rotary_table.h"
#include "common/safetensors_file.h"
#include "worker/model/checkpoint.h"
#include "worker/model/transformer.h"
#include "worker/scoring/token_nll.h"

namespace longrope {
namespace {

constexpr std::int64_t kMaxThreads = 1024;
constexpr std::int64_t kMaxLogitsBytes = std::int64_t{1} << 30;
constexpr std::int64_t kBytesPerKibibyte = 1024;  // /proc counts kibibytes

/// Runs `work`, translating Torch's exceptions into ours.
template <typename Work>
auto translating_errors(const Work& work) {
  try {
    return work();
  } catch (const c10::OutOfMemoryError&) {
    throw std::bad_alloc();
  } catch (const c10::Error& error) {
    // Torch has no type for a failed host allocation, only this text.
    const std::string_view message = error.what_without_backtrace();
    if (message.find("DefaultCPUAllocator") != std::string_view::npos) throw std::bad_alloc();
    throw Error(fmt::format("Torch must not fail: {}", message));
  }
}

at::Device parse_device(const std::string& text) {
  const auto refuse = [&] { throw InputError(fmt::format("device must be cpu, cuda or cuda:N: {}", text)); };
  at::Device device = at::kCPU;
  try {
    device = at::Device(text);
  } catch (const c10::Error&) {
    refuse();
  }
  if (!device.is_cpu() && !device.is_cuda()) refuse();
  if (device.is_cuda() && !at::hasCUDA()) {
    throw InputError(
        fmt::format("device must be one this Torch supports: {} (Torch {} without CUDA)", text, TORCH_VERSION));
  }
  return device;
}

bool cpu_has(const char* capability) {
  const auto capabilities = at::cpu::get_cpu_capabilities();
  const auto found = capabilities.find(capability);
  return found != capabilities.end() && found->second.isBool() && found->second.toBool();
}

Placement choose_placement(const ScorerOptions& options) {
  Placement placement;
  placement.device = parse_device(options.device);
  if (options.dtype == ComputeDtype::kFp32) return placement;
  placement.weights = at::kBFloat16;
  const bool native = placement.device.is_cuda() || cpu_has("avx512_bf16") || cpu_has("amx_bf16");
  // Without such instructions Torch's bfloat16 products run at an eighth of its float32 ones.
  placement.arithmetic = native ? at::kBFloat16 : at::kFloat;
  return placement;
}

void set_threads(std::int64_t threads) {
  if (threads < 1 || threads > kMaxThreads) {
    throw InputError(fmt::format("threads must be from 1 to {}: {}", kMaxThreads, threads));
  }
  static std::once_flag once;  // Torch refuses a second call
  std::call_once(once, [] { at::set_num_interop_threads(1); });
  at::set_num_threads(static_cast<int>(threads));
}

std::int64_t peak_memory_bytes(at::Device device) {
  if (device.is_cuda()) {
    const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.has_index() ? device.index() : 0);
    return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  }
  // Not getrusage: its maximum survives exec, so a small worker would report the size of whatever started it.
  std::ifstream status("/proc/self/status");
  std::string word;
  std::int64_t kibibytes = 0;
  while (status >> word) {
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * kBytesPerKibibyte;
  }
  throw Error("peak memory must be readable: no VmHWM in /proc/self/status");
}

/// Positions t whose token counts, ascending: 1 <= t < length and the mask, if any, is not 0.
std::vector<std::int64_t> scored_positions(const Document& document, std::int64_t length) {
  std::vector<std::int64_t> positions;
  for (std::int64_t position = 1; position < length; ++position) {
    if (document.scored.empty() || document.scored[static_cast<std::size_t>(position)] != 0) {
      positions.push_back(position);
    }
  }
  return positions;
}

at::Tensor to_tensor(const std::vector<std::int64_t>& values, at::Device device) {
  const at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::TensorOptions().dtype(at::kLong));
  std::ranges::copy(values, tensor.data_ptr<std::int64_t>());
  return tensor.to(device);
}

/// Sums in fp64 in position order, so that the result does not depend on tiles or threads.
void add_up(const std::vector<std::int64_t>& positions, std::span<const float> nll, std::int64_t length,
            ScoreResult& result) {
  result.blocks.resize(static_cast<std::size_t>((length + kBlockTokens - 1) / kBlockTokens));
  for (std::size_t index = 0; index < positions.size(); ++index) {
    ScoredBlock& block = result.blocks[static_cast<std::size_t>(positions[index] / kBlockTokens)];
    block.nll_sum += static_cast<double>(nll[index]);
    ++block.scored_tokens;
  }
  for (const ScoredBlock& block : result.blocks) {
    result.nll_sum += block.nll_sum;
    result.scored_tokens += block.scored_tokens;
  }
}

}  // namespace

struct PerplexityScorer::Implementation {
  Implementation(const std::filesystem::path& directory, const ScorerOptions& scorer_options)
      : options(scorer_options),
        placement(choose_placement(scorer_options)),
        description(describe(directory, scorer_options)),
        model(load(directory)) {}

  static ModelDescription describe(const std::filesystem::path& directory, const ScorerOptions& options) {
    ModelDescription description = describe_model(directory);
    if (!options.sliding_window) std::ranges::fill(description.sliding_windows, 0);
    return description;
  }

  [[nodiscard]] Transformer load(const std::filesystem::path& directory) const {
    set_threads(options.threads);
    const c10::InferenceMode inference;
    Checkpoint checkpoint(directory);
    return {description, checkpoint, placement};
  }

  /// Checks everything, then runs the layers.
  [[nodiscard]] at::Tensor residual_stream(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                           const std::function<void()>& tile_finished) const {
    validate(factors, description.geometry.pairs(), "factors for " + description.name);
    require_scorable(document, length, description.vocabulary);
    const RotaryTable rotary = rotary_table(description.geometry, factors, 0, length, options.angles);
    return model.residual_stream(std::span(document.tokens).first(static_cast<std::size_t>(length)), rotary,
                                 tile_finished);
  }

  [[nodiscard]] ScoreResult score(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                  const std::function<void()>& tile_finished) const;
  void write_logits(const RescaleFactors& factors, const Document& document, std::int64_t length,
                    const std::filesystem::path& path) const;

  ScorerOptions options;
  Placement placement;
  ModelDescription description;
  Transformer model;
};

ScoreResult PerplexityScorer::Implementation::score(const RescaleFactors& factors, const Document& document,
                                                    std::int64_t length,
                                                    const std::function<void()>& tile_finished) const {
  const auto start = std::chrono::steady_clock::now();
  const c10::InferenceMode inference;
  set_threads(options.threads);  // another scorer of this process may have changed it
  if (placement.device.is_cuda()) {
    c10::getDeviceAllocator(placement.device.type())
        ->resetPeakStats(placement.device.has_index() ? placement.device.index() : 0);
  }
  const at::Tensor residual = residual_stream(factors, document, length, tile_finished);

  const std::vector<std::int64_t> positions = scored_positions(document, length);
  std::vector<std::int64_t> targets(positions.size());
  std::vector<std::int64_t> predictors(positions.size());  // the token at t is predicted by the row at t − 1
  for (std::size_t index = 0; index < positions.size(); ++index) {
    targets[index] = document.tokens[static_cast<std::size_t>(positions[index])];
    predictors[index] = positions[index] - 1;
  }
  const at::Tensor rows = to_tensor(predictors, placement.device);
  const auto normed_rows = [&](std::int64_t begin, std::int64_t count) {
    return model.final_norm(residual.index_select(0, rows.narrow(0, begin, count)));
  };
  const at::Tensor nll = token_nll(normed_rows, model.output_embedding(), placement.arithmetic,
                                   to_tensor(targets, placement.device), tile_finished)
                             .cpu();
  ScoreResult result;
  add_up(positions, {nll.const_data_ptr<float>(), positions.size()}, length, result);
  result.peak_memory_bytes = peak_memory_bytes(placement.device);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

void PerplexityScorer::Implementation::write_logits(const RescaleFactors& factors, const Document& document,
                                                    std::int64_t length, const std::filesystem::path& path) const {
  const auto float_bytes = static_cast<std::int64_t>(sizeof(float));
  if (length > kMaxLogitsBytes / float_bytes / description.vocabulary) {
    throw InputError(fmt::format("logits must not exceed {} bytes: {} tokens of a vocabulary of {}", kMaxLogitsBytes,
                                 length, description.vocabulary));
  }
  const c10::InferenceMode inference;
  set_threads(options.threads);
  const at::Tensor residual = residual_stream(factors, document, length, [] {});
  const at::Tensor head = model.output_embedding().to(placement.arithmetic).t();
  const at::Tensor logits = at::mm(model.final_norm(residual), head).to(at::kFloat).cpu().contiguous();
  const std::span<const float> values(logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel()));
  const TensorToWrite tensor{.dtype = "F32", .shape = {length, description.vocabulary}, .bytes = std::as_bytes(values)};
  write_safetensors(path, {{"logits", tensor}}, {});
}

PerplexityScorer::PerplexityScorer(const std::filesystem::path& model_directory, const ScorerOptions& options)
    : implementation_(translating_errors([&] { return std::make_unique<Implementation>(model_directory, options); })) {}
PerplexityScorer::~PerplexityScorer() = default;

const ModelDescription& PerplexityScorer::model() const { return implementation_->description; }

std::string PerplexityScorer::device_description() const {
  const Placement& placement = implementation_->placement;
  std::string name = placement.device.str();
  if (placement.device.is_cpu()) {
    const auto capabilities = at::cpu::get_cpu_capabilities();
    const auto cpu_name = capabilities.find("cpu_name");
    name = fmt::format("{} {} ({} kernels, {} threads)", placement.device.str(),
                       cpu_name == capabilities.end() ? "" : cpu_name->second.toStringRef(), at::get_cpu_capability(),
                       implementation_->options.threads);
  }
  return fmt::format("Torch {}, {}, {} weights, {} arithmetic", TORCH_VERSION, name, c10::toString(placement.weights),
                     c10::toString(placement.arithmetic));
}

ScoreResult PerplexityScorer::score(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                    std::atomic<std::int64_t>& progress) {
  return translating_errors([&] {
    return implementation_->score(factors, document, length, [&] { progress.fetch_add(1, std::memory_order_relaxed); });
  });
}

void PerplexityScorer::write_logits(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                    const std::filesystem::path& path) {
  translating_errors([&] { implementation_->write_logits(factors, document, length, path); });
}

}  // namespace longrope
