#include "worker/scoring/perplexity_scorer.h"

#include "common/error.h"
#include "common/files/safetensors_file.h"
#include "common/model/expected_tensors.h"
#include "worker/model/checkpoint.h"
#include "worker/model/memory_estimate.h"
#include "worker/model/projection.h"
#include "worker/model/torch_errors.h"
#include "worker/model/transformer.h"
#include "worker/scoring/attention_choice.h"
#include "worker/scoring/compute_device.h"
#include "worker/scoring/token_nll.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace longrope {
namespace {

constexpr std::int64_t kMaxLogitsBytes = std::int64_t{1} << 30;

at::Tensor to_tensor(const std::vector<std::int64_t>& values, at::Device device) {
  const at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::TensorOptions().dtype(at::kLong));
  std::ranges::copy(values, tensor.data_ptr<std::int64_t>());
  return tensor.to(device);
}

/// The rows of the residual streams, candidate by candidate, that predict the tokens at some positions.
struct RowsToScore {
  RowsToScore(std::span<const std::int32_t> tokens, std::int64_t begin, const std::vector<std::int64_t>& positions,
              std::size_t candidates, at::Device device) {
    std::vector<std::int64_t> tokens_to_score;
    std::vector<std::int64_t> rows;  // the token at t is predicted by the row at t − 1
    tokens_to_score.reserve(candidates * positions.size());
    rows.reserve(candidates * positions.size());
    for (std::size_t candidate = 0; candidate < candidates; ++candidate) {
      const auto first_row = static_cast<std::int64_t>(candidate * tokens.size());
      for (const std::int64_t position : positions) {
        tokens_to_score.push_back(tokens[static_cast<std::size_t>(position - begin)]);
        rows.push_back(first_row + position - begin - 1);
      }
    }
    targets = to_tensor(tokens_to_score, device);
    predictors = to_tensor(rows, device);
  }

  at::Tensor targets;     // [N] int64
  at::Tensor predictors;  // [N] int64
};

}  // namespace

struct PerplexityScorer::Implementation {
  Implementation(const std::filesystem::path& directory, const ScorerOptions& scorer_options)
      : options(scorer_options),
        placement(choose_placement(scorer_options)),
        description(describe(directory, scorer_options)),
        memory_budget(budget(scorer_options, placement)),
        attention(choose_attention(placement, description)),
        model(load(directory)) {}

  /// Asked before anything is loaded.
  static std::int64_t budget(const ScorerOptions& options, const Placement& placement) {
    if (options.memory_budget > 0) return options.memory_budget;
    return placement.device.is_cpu() ? available_memory() : available_device_memory(placement.device);
  }

  static ModelDescription describe(const std::filesystem::path& directory, const ScorerOptions& options) {
    ModelDescription description = describe_model(directory);
    if (!options.sliding_window) std::ranges::fill(description.sliding_windows, 0);
    return description;
  }

  static std::string choose_attention(Placement& placement, const ModelDescription& model) {
    if (kernels_for(placement) != nullptr) return {};
    const c10::InferenceMode inference;
    const AttentionChoice choice = attention_on(
        placement,
        {.query_heads = model.query_heads, .key_value_heads = model.key_value_heads, .head_dim = model.head_dim});
    placement.attention = choice.kernel;
    return choice.description;
  }
  [[nodiscard]] Transformer load(const std::filesystem::path& directory) const {
    require_usable_weights(description);
    set_threads(options.threads);
    return_large_blocks();
    const c10::InferenceMode inference;
    return {description, Checkpoint(directory), placement, memory_layout(0, 1).weights};
  }
  /// For at most so many candidates at once. Throws MemoryError when `tokens` do not fit the budget.
  [[nodiscard]] MemoryLayout memory_layout(std::int64_t tokens, std::int64_t candidates,
                                           std::optional<KeptForGradient> gradient = std::nullopt) const {
    const auto bytes = [](at::ScalarType dtype) { return static_cast<std::int64_t>(c10::elementSize(dtype)); };
    MemoryLayout wanted = {.weight_bytes = bytes(placement.weights),
                           .arithmetic_bytes = bytes(placement.arithmetic),
                           .product_bytes = bytes(placement.products)};
    if (placement.device.is_cuda()) {
      wanted = device_layout(bytes(placement.arithmetic));
      wanted.host_budget = host_budget;
    }
    wanted.candidates = candidates;
    wanted.gradient = gradient;
    return fit_memory(description, wanted, tokens, memory_budget);
  }

  [[nodiscard]] std::vector<FitnessResult> measure(std::span<const RescaleFactors> candidates, const Fitness& fitness,
                                                   const Document& document, std::int64_t length,
                                                   const std::function<void()>& tile_finished);
  [[nodiscard]] std::int64_t expected_progress(std::int64_t candidates, const Fitness& fitness,
                                               const Document& document, std::int64_t length) const;
  [[nodiscard]] std::int64_t expected_gradient_progress(const Document& document, std::int64_t length) const;
  void write_logits(const RescaleFactors& factors, const Document& document, std::int64_t length,
                    const std::filesystem::path& path);
  /// Calls run(pass, positions that count, layout, first, count) for candidates [first, first + count) of each pass in
  /// which something counts: as many at once as fit into memory.
  template <typename Run>
  void for_each_run(std::size_t candidates, const Fitness& fitness, const Document& document, std::int64_t length,
                    const Run& run) const {
    for (const Pass& pass : passes(fitness, length)) {
      const std::vector<std::int64_t> positions = scored_positions(document, pass);
      if (positions.empty()) continue;
      const MemoryLayout layout = memory_layout(pass.end - pass.begin, static_cast<std::int64_t>(candidates));
      const auto at_once = static_cast<std::size_t>(layout.candidates);
      for (std::size_t first = 0; first < candidates; first += at_once) {
        run(pass, positions, layout, first, std::min(at_once, candidates - first));
      }
    }
  }
  /// Throws InputError for factors that do not fit the model.
  [[nodiscard]] RotaryFrequencies frequencies_of(const RescaleFactors& factors) const {
    return {description.geometry, factors, options.angles, "factors for " + description.name};
  }
  /// Runs the layers over `tokens`, which begin at position `begin`, for candidates that fit into memory at once, and
  /// appends each one's scores of `positions`.
  void run_pass(std::span<const std::int32_t> tokens, std::int64_t begin, const std::vector<std::int64_t>& positions,
                std::span<const RotaryFrequencies> candidates, std::int64_t tile_tokens,
                const ForwardObserver& observer, std::span<ScoredTokens> scored);
  [[nodiscard]] OutputProjection head() {
    return [this](std::int64_t first, std::int64_t count) { return model.output_projection(first, count); };
  }
  [[nodiscard]] TokenScores score_rows(const at::Tensor& residuals, const RowsToScore& rows,
                                       const ForwardObserver& observer);
  /// Appends the scores of `positions` to each candidate's.
  void add_scores(const TokenScores& tokens_scored, const std::vector<std::int64_t>& positions,
                  std::span<ScoredTokens> scored, const ForwardObserver& observer) const;
  [[nodiscard]] FitnessResult differentiate(const RescaleFactors& factors, const Document& document,
                                            std::int64_t length, const std::function<void()>& tile_finished);

  ScorerOptions options;
  Placement placement;
  ModelDescription description;
  std::int64_t memory_budget;
  std::int64_t host_budget = available_memory();
  std::string attention;  // described; empty where the kernels of worker/kernels/ compute
  Transformer model;
};

void PerplexityScorer::Implementation::run_pass(std::span<const std::int32_t> tokens, std::int64_t begin,
                                                const std::vector<std::int64_t>& positions,
                                                std::span<const RotaryFrequencies> candidates, std::int64_t tile_tokens,
                                                const ForwardObserver& observer, std::span<ScoredTokens> scored) {
  const at::Tensor residuals = model.residual_streams(tokens, candidates, tile_tokens, observer);
  const RowsToScore rows(tokens, begin, positions, candidates.size(), placement.device);
  add_scores(score_rows(residuals, rows, observer), positions, scored, observer);
}

TokenScores PerplexityScorer::Implementation::score_rows(const at::Tensor& residuals, const RowsToScore& rows,
                                                         const ForwardObserver& observer) {
  const auto normed_rows = [&](std::int64_t first, std::int64_t count) {
    return model.final_norm(residuals.index_select(0, rows.predictors.narrow(0, first, count)));
  };
  return token_nll(normed_rows, head(), description.vocabulary, rows.targets, placement, observer.tile_finished);
}

void PerplexityScorer::Implementation::add_scores(const TokenScores& tokens_scored,
                                                  const std::vector<std::int64_t>& positions,
                                                  std::span<ScoredTokens> scored,
                                                  const ForwardObserver& observer) const {
  const at::Tensor nll = tokens_scored.nll.cpu();
  const at::Tensor hits = tokens_scored.is_argmax.cpu();
  const float* next_nll = nll.const_data_ptr<float>();
  const bool* next_hit = hits.const_data_ptr<bool>();
  for (ScoredTokens& candidate : scored) {
    candidate.positions.insert(candidate.positions.end(), positions.begin(), positions.end());
    candidate.nll.insert(candidate.nll.end(), next_nll, next_nll + positions.size());
    candidate.hits.insert(candidate.hits.end(), next_hit, next_hit + positions.size());
    next_nll += positions.size();
    next_hit += positions.size();
  }
  observer.clock.lap(Phase::kOutput, 2.0 * static_cast<double>(nll.numel()) *
                                         static_cast<double>(description.vocabulary * description.hidden_size));
}

std::vector<FitnessResult> PerplexityScorer::Implementation::measure(std::span<const RescaleFactors> candidates,
                                                                     const Fitness& fitness, const Document& document,
                                                                     std::int64_t length,
                                                                     const std::function<void()>& tile_finished) {
  const double start = seconds_when_finished(placement.device);
  const c10::InferenceMode inference;
  set_threads(options.threads);  // another scorer of this process may have changed it
  reset_peak_memory(placement.device);
  std::vector<RotaryFrequencies> frequencies;
  for (const RescaleFactors& factors : candidates) frequencies.push_back(frequencies_of(factors));
  require_measurable(fitness, document, length, description.vocabulary);

  PhaseClock clock(options.time_phases ? [this] { return seconds_when_finished(placement.device); }
                                       : std::function<double()>());
  const ForwardObserver observer{tile_finished, clock};
  std::vector<FitnessResult> results(candidates.size());
  std::vector<ScoredTokens> scored(candidates.size());
  for_each_run(candidates.size(), fitness, document, length,
               [&](const Pass& pass, const std::vector<std::int64_t>& positions, const MemoryLayout& layout,
                   std::size_t first, std::size_t count) {
                 std::vector<std::int32_t> tokens(document.tokens.begin() + pass.begin,
                                                  document.tokens.begin() + pass.end);
                 if (fitness.repeat_first_token) tokens.front() = document.tokens.front();
                 run_pass(tokens, pass.begin, positions, std::span(frequencies).subspan(first, count),
                          layout.tile_tokens, observer, std::span(scored).subspan(first, count));
                 for (std::size_t index = first; index < first + count; ++index) {
                   add_window(scored[index], positions.size(), results[index]);
                 }
               });
  const auto share = 1.0 / static_cast<double>(candidates.size());
  const double seconds = share * (seconds_when_finished(placement.device) - start);
  const std::int64_t peak = peak_memory_bytes(placement.device);
  for (std::size_t index = 0; index < candidates.size(); ++index) {
    FitnessResult& result = results[index];
    add_up(scored[index], length, result.score);
    if (fitness.kind == FitnessKind::kAccuracy) count_answers(scored[index].positions, scored[index].hits, result);
    result.score.peak_memory_bytes = peak;
    result.score.seconds = seconds;
    for (std::size_t phase = 0; phase < result.phases.size(); ++phase) {
      result.phases[phase] = {share * clock.totals()[phase].seconds, share * clock.totals()[phase].operations};
    }
  }
  return results;
}

FitnessResult PerplexityScorer::Implementation::differentiate(const RescaleFactors& factors, const Document& document,
                                                              std::int64_t length,
                                                              const std::function<void()>& tile_finished) {
  if (!model.supports_gradients()) {
    throw InputError("gradients need the CPU kernels of this program (AVX2 or AVX-512): this device has none");
  }
  const double start = seconds_when_finished(placement.device);
  const c10::InferenceMode inference;
  set_threads(options.threads);
  reset_peak_memory(placement.device);
  const RotaryFrequencies frequencies = frequencies_of(factors);
  require_measurable({}, document, length, description.vocabulary);
  const MemoryLayout layout = memory_layout(length, 1, KeptForGradient{});
  const std::vector<std::int64_t> positions = scored_positions(document, passes({}, length).front());
  const auto tokens = std::span(document.tokens).first(static_cast<std::size_t>(length));
  const RowsToScore rows(tokens, 0, positions, 1, placement.device);
  PhaseClock clock(options.time_phases ? [this] { return seconds_when_finished(placement.device); }
                                       : std::function<double()>());
  const ForwardObserver observer{tile_finished, clock};
  ScoredTokens scored;
  FitnessResult result;
  result.gradient = model.factor_gradient(
      tokens, frequencies, layout.tile_tokens, *layout.gradient,
      [&](const at::Tensor& residual, const at::Tensor& gradient) {
        const TokenScores scores = score_rows(residual, rows, observer);
        add_scores(scores, positions, std::span(&scored, 1), observer);
        const at::Tensor chosen = residual.index_select(0, rows.predictors);
        const auto normed = [&](std::int64_t first, std::int64_t count) {
          return model.final_norm(chosen.narrow(0, first, count));
        };
        const at::Tensor hidden_gradient = token_nll_gradient(normed, head(), description.vocabulary, rows.targets,
                                                              scores.log_sums, placement, tile_finished);
        const at::Tensor own = model.final_norm_gradient(chosen, hidden_gradient);
        gradient.index_copy_(0, rows.predictors, own);
        // Logits once more, and the gradient of hidden states.
        clock.lap(Phase::kOutput, 4.0 * static_cast<double>(positions.size()) *
                                      static_cast<double>(description.vocabulary * description.hidden_size));
      },
      observer);
  add_window(scored, positions.size(), result);
  add_up(scored, length, result.score);
  result.score.seconds = seconds_when_finished(placement.device) - start;
  result.score.peak_memory_bytes = peak_memory_bytes(placement.device);
  result.phases = clock.totals();
  return result;
}

std::int64_t PerplexityScorer::Implementation::expected_progress(std::int64_t candidates, const Fitness& fitness,
                                                                 const Document& document, std::int64_t length) const {
  require_measurable(fitness, document, length, description.vocabulary);
  std::int64_t expected = 0;
  for_each_run(static_cast<std::size_t>(candidates), fitness, document, length,
               [&](const Pass& pass, const std::vector<std::int64_t>& positions, const MemoryLayout& layout,
                   std::size_t, std::size_t count) {
                 const auto at_once = static_cast<std::int64_t>(count);
                 const auto rows = at_once * static_cast<std::int64_t>(positions.size());
                 expected += at_once * model.ticks(pass.end - pass.begin, layout.tile_tokens) +
                             token_nll_tiles(rows, description.vocabulary, placement);
               });
  return expected;
}

std::int64_t PerplexityScorer::Implementation::expected_gradient_progress(const Document& document,
                                                                          std::int64_t length) const {
  require_measurable({}, document, length, description.vocabulary);
  const MemoryLayout layout = memory_layout(length, 1, KeptForGradient{});
  const auto rows = static_cast<std::int64_t>(scored_positions(document, passes({}, length).front()).size());
  return model.gradient_ticks(length, layout.tile_tokens, *layout.gradient) +
         2 * token_nll_tiles(rows, description.vocabulary, placement);
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
  const RotaryFrequencies frequencies = frequencies_of(factors);
  PhaseClock untimed({});
  const at::Tensor residual = model.residual_streams(std::span(document.tokens).first(static_cast<std::size_t>(length)),
                                                     std::span(&frequencies, 1), memory_layout(length, 1).tile_tokens,
                                                     {.tile_finished = [] {}, .clock = untimed});
  const Projection head = model.output_projection(0, description.vocabulary);
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
  const std::string placement = describe_placement(implementation_->placement, implementation_->options.threads);
  return implementation_->attention.empty() ? placement : fmt::format("{}, {}", placement, implementation_->attention);
}

std::vector<FitnessResult> PerplexityScorer::measure(std::span<const RescaleFactors> candidates, const Fitness& fitness,
                                                     const Document& document, std::int64_t length,
                                                     std::atomic<std::int64_t>& progress) {
  return translating_errors([&] {
    return implementation_->measure(candidates, fitness, document, length,
                                    [&] { progress.fetch_add(1, std::memory_order_relaxed); });
  });
}

ScoreResult PerplexityScorer::score(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                    std::atomic<std::int64_t>& progress) {
  return measure(std::span(&factors, 1), {}, document, length, progress).front().score;
}

FitnessResult PerplexityScorer::differentiate(const RescaleFactors& factors, const Document& document,
                                              std::int64_t length, std::atomic<std::int64_t>& progress) {
  return translating_errors([&] {
    return implementation_->differentiate(factors, document, length,
                                          [&] { progress.fetch_add(1, std::memory_order_relaxed); });
  });
}

std::int64_t PerplexityScorer::expected_progress(std::int64_t candidates, const Fitness& fitness,
                                                 const Document& document, std::int64_t length) const {
  return implementation_->expected_progress(candidates, fitness, document, length);
}

std::int64_t PerplexityScorer::expected_gradient_progress(const Document& document, std::int64_t length) const {
  return implementation_->expected_gradient_progress(document, length);
}

void PerplexityScorer::write_logits(const RescaleFactors& factors, const Document& document, std::int64_t length,
                                    const std::filesystem::path& path) {
  translating_errors([&] { implementation_->write_logits(factors, document, length, path); });
}

}  // namespace longrope
