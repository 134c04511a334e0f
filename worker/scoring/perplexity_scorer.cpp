#include "worker/scoring/perplexity_scorer.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"
#include "common/memory_estimate.h"
#include "common/safetensors_file.h"
#include "worker/model/checkpoint.h"
#include "worker/model/projection.h"
#include "worker/model/transformer.h"
#include "worker/scoring/compute_device.h"
#include "worker/scoring/token_nll.h"

namespace longrope {
namespace {

constexpr std::int64_t kMaxLogitsBytes = std::int64_t{1} << 30;

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

std::int64_t tiles(std::int64_t count, std::int64_t tile) { return (count + tile - 1) / tile; }

/// Of the tokens that count, in position order.
struct Scores {
  std::vector<std::int64_t> positions;
  std::vector<float> nll;          // nats
  std::vector<std::uint8_t> hits;  // 1 where the token is the likeliest
};

at::Tensor to_tensor(const std::vector<std::int64_t>& values, at::Device device) {
  const at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::TensorOptions().dtype(at::kLong));
  std::ranges::copy(values, tensor.data_ptr<std::int64_t>());
  return tensor.to(device);
}

/// Sums in fp64 in position order, so that the result does not depend on tiles or threads.
void add_up(const Scores& scores, std::int64_t length, ScoreResult& result) {
  const auto& [positions, nll, hits] = scores;
  result.blocks.resize(static_cast<std::size_t>(tiles(length, kBlockTokens)));
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
        memory_budget(budget(scorer_options, placement)),
        model(load(directory)) {}

  /// Asked before anything is loaded. Estimates are of the host's memory: without a limit by hand a GPU has none.
  static std::int64_t budget(const ScorerOptions& options, const Placement& placement) {
    if (options.memory_budget > 0) return options.memory_budget;
    return placement.device.is_cpu() ? available_memory() : std::numeric_limits<std::int64_t>::max();
  }

  static ModelDescription describe(const std::filesystem::path& directory, const ScorerOptions& options) {
    ModelDescription description = describe_model(directory);
    if (!options.sliding_window) std::ranges::fill(description.sliding_windows, 0);
    return description;
  }

  [[nodiscard]] Transformer load(const std::filesystem::path& directory) const {
    set_threads(options.threads);
    const c10::InferenceMode inference;
    const bool stream_weights = memory_layout(0).stream_weights;
    return {description, Checkpoint(directory), placement,
            stream_weights ? WeightSource::kFiles : WeightSource::kMemory};
  }
  /// Throws MemoryError when `tokens` do not fit the budget.
  [[nodiscard]] MemoryLayout memory_layout(std::int64_t tokens) const {
    const auto bytes = [](at::ScalarType dtype) { return static_cast<std::int64_t>(c10::elementSize(dtype)); };
    return fit_memory(description, bytes(placement.weights), bytes(placement.arithmetic), tokens, memory_budget);
  }

  [[nodiscard]] FitnessResult measure(const RescaleFactors& factors, const Fitness& fitness, const Document& document,
                                      std::int64_t length, const std::function<void()>& tile_finished);
  [[nodiscard]] std::int64_t expected_progress(const Fitness& fitness, const Document& document,
                                               std::int64_t length) const;
  void write_logits(const RescaleFactors& factors, const Document& document, std::int64_t length,
                    const std::filesystem::path& path);
  void require_factors(const RescaleFactors& factors) const {
    validate(factors, description.geometry.pairs(), "factors for " + description.name);
  }
  /// Runs the layers over `tokens`, which begin at position `begin`, and appends the scores of `positions`.
  void run_pass(std::span<const std::int32_t> tokens, std::int64_t begin, const std::vector<std::int64_t>& positions,
                const RescaleFactors& factors, const std::function<void()>& tile_finished, Scores& scores);

  ScorerOptions options;
  Placement placement;
  ModelDescription description;
  std::int64_t memory_budget;
  Transformer model;
};

void PerplexityScorer::Implementation::run_pass(std::span<const std::int32_t> tokens, std::int64_t begin,
                                                const std::vector<std::int64_t>& positions,
                                                const RescaleFactors& factors,
                                                const std::function<void()>& tile_finished, Scores& scores) {
  const MemoryLayout layout = memory_layout(static_cast<std::int64_t>(tokens.size()));
  const at::Tensor residual = model.residual_stream(tokens, factors, options.angles, layout.tile_tokens, tile_finished);
  std::vector<std::int64_t> targets;
  std::vector<std::int64_t> predictors;  // the token at t is predicted by the row at t − 1
  for (const std::int64_t position : positions) {
    targets.push_back(tokens[static_cast<std::size_t>(position - begin)]);
    predictors.push_back(position - begin - 1);
  }
  const at::Tensor rows = to_tensor(predictors, placement.device);
  const auto normed_rows = [&](std::int64_t first, std::int64_t count) {
    return model.final_norm(residual.index_select(0, rows.narrow(0, first, count)));
  };
  const auto head = [&](std::int64_t first, std::int64_t count) { return model.output_embedding(first, count); };
  const TokenScores tokens_scored = token_nll(normed_rows, head, description.vocabulary,
                                              to_tensor(targets, placement.device), placement, tile_finished);
  const at::Tensor nll = tokens_scored.nll.cpu();
  const at::Tensor hits = tokens_scored.is_argmax.cpu();
  scores.positions.insert(scores.positions.end(), positions.begin(), positions.end());
  scores.nll.insert(scores.nll.end(), nll.const_data_ptr<float>(), nll.const_data_ptr<float>() + nll.numel());
  scores.hits.insert(scores.hits.end(), hits.const_data_ptr<bool>(), hits.const_data_ptr<bool>() + hits.numel());
}

FitnessResult PerplexityScorer::Implementation::measure(const RescaleFactors& factors, const Fitness& fitness,
                                                        const Document& document, std::int64_t length,
                                                        const std::function<void()>& tile_finished) {
  const auto start = std::chrono::steady_clock::now();
  const c10::InferenceMode inference;
  set_threads(options.threads);  // another scorer of this process may have changed it
  reset_peak_memory(placement.device);
  require_factors(factors);
  require_measurable(fitness, document, length, description.vocabulary);

  FitnessResult result;
  Scores scores;
  for (const Pass& pass : passes(fitness, length)) {
    const std::vector<std::int64_t> positions = scored_positions(document, pass);
    if (positions.empty()) continue;
    std::vector<std::int32_t> tokens(document.tokens.begin() + pass.begin, document.tokens.begin() + pass.end);
    if (fitness.repeat_first_token) tokens.front() = document.tokens.front();
    const std::size_t before = scores.nll.size();
    run_pass(tokens, pass.begin, positions, factors, tile_finished, scores);
    double sum = 0.0;
    for (std::size_t index = before; index < scores.nll.size(); ++index) sum += static_cast<double>(scores.nll[index]);
    result.window_means += sum / static_cast<double>(positions.size());
    ++result.windows;
  }
  add_up(scores, length, result.score);
  if (fitness.kind == FitnessKind::kAccuracy) count_answers(scores.positions, scores.hits, result);
  result.score.peak_memory_bytes = peak_memory_bytes(placement.device);
  result.score.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

std::int64_t PerplexityScorer::Implementation::expected_progress(const Fitness& fitness, const Document& document,
                                                                 std::int64_t length) const {
  require_measurable(fitness, document, length, description.vocabulary);
  std::int64_t expected = 0;
  for (const Pass& pass : passes(fitness, length)) {
    const auto rows = static_cast<std::int64_t>(scored_positions(document, pass).size());
    if (rows == 0) continue;
    const std::int64_t tokens = pass.end - pass.begin;
    expected += model.ticks(tokens, memory_layout(tokens).tile_tokens) + token_nll_tiles(rows, description.vocabulary);
  }
  return expected;
}

void PerplexityScorer::Implementation::write_logits(const RescaleFactors& factors, const Document& document,
                                                    std::int64_t length, const std::filesystem::path& path) {
  const auto float_bytes = static_cast<std::int64_t>(sizeof(float));
  if (length > kMaxLogitsBytes / float_bytes / description.vocabulary) {
    throw InputError(fmt::format("logits must not exceed {} bytes: {} tokens of a vocabulary of {}", kMaxLogitsBytes,
                                 length, description.vocabulary));
  }
  const c10::InferenceMode inference;
  set_threads(options.threads);
  require_scorable(document, length, description.vocabulary);
  require_factors(factors);
  const at::Tensor residual = model.residual_stream(std::span(document.tokens).first(static_cast<std::size_t>(length)),
                                                    factors, options.angles, memory_layout(length).tile_tokens, [] {});
  const Projection head(model.output_embedding(0, description.vocabulary), {}, placement);
  const at::Tensor product = at::empty({length, description.vocabulary}, residual.options());
  head.write(model.final_norm(residual), product);
  const at::Tensor logits = product.to(at::kFloat).cpu();
  const std::span<const float> values(logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel()));
  const TensorToWrite tensor{.dtype = "F32", .shape = {length, description.vocabulary}, .bytes = std::as_bytes(values)};
  write_safetensors(path, {{"logits", tensor}}, {});
}

PerplexityScorer::PerplexityScorer(const std::filesystem::path& model_directory, const ScorerOptions& options)
    : implementation_(translating_errors([&] { return std::make_unique<Implementation>(model_directory, options); })) {}
PerplexityScorer::~PerplexityScorer() = default;

const ModelDescription& PerplexityScorer::model() const { return implementation_->description; }

std::string PerplexityScorer::device_description() const {
  return describe_placement(implementation_->placement, implementation_->options.threads);
}

FitnessResult PerplexityScorer::measure(const RescaleFactors& factors, const Fitness& fitness, const Document& document,
                                        std::int64_t length, std::atomic<std::int64_t>& progress) {
  return translating_errors([&] {
    return implementation_->measure(factors, fitness, document, length,
                                    [&] { progress.fetch_add(1, std::memory_order_relaxed); });
  });
}

ScoreResult PerplexityScorer::score(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                    std::atomic<std::int64_t>& progress) {
  return measure(factors, {}, document, length, progress).score;
}

std::int64_t PerplexityScorer::expected_progress(const Fitness& fitness, const Document& document,
                                                 std::int64_t length) const {
  return implementation_->expected_progress(fitness, document, length);
}

void PerplexityScorer::write_logits(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                    const std::filesystem::path& path) {
  translating_errors([&] { implementation_->write_logits(factors, document, length, path); });
}

}  // namespace longrope
