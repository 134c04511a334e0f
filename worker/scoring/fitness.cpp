#include "worker/scoring/fitness.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace longrope {
namespace {

constexpr std::array kKinds = {FitnessKind::kPerplexity, FitnessKind::kSliding, FitnessKind::kAccuracy};

}  // namespace

std::string_view to_string(FitnessKind kind) {
  switch (kind) {
    case FitnessKind::kPerplexity:
      return "perplexity";
    case FitnessKind::kSliding:
      return "sliding";
    case FitnessKind::kAccuracy:
      return "accuracy";
  }
  throw Error(fmt::format("unknown fitness: {}", static_cast<int>(kind)));
}

FitnessKind parse_fitness_kind(std::string_view text) {
  const auto* const kind = std::ranges::find_if(kKinds, [&](FitnessKind known) { return to_string(known) == text; });
  if (kind == kKinds.end()) throw InputError(fmt::format("fitness must be perplexity, sliding or accuracy: {}", text));
  return *kind;
}

std::vector<Pass> passes(const Fitness& fitness, std::int64_t length) {
  if (fitness.kind != FitnessKind::kSliding) return {{.begin = 0, .end = length, .first_scored = 1}};
  std::vector<Pass> windows;
  std::int64_t scored = 1;  // position 0 has nothing before it
  for (std::int64_t begin = 0; scored < length; begin += fitness.stride) {
    const std::int64_t end = std::min(begin + fitness.window, length);
    windows.push_back({.begin = begin, .end = end, .first_scored = scored});
    scored = end;
  }
  return windows;
}

std::vector<std::int64_t> scored_positions(const Document& document, const Pass& pass) {
  std::vector<std::int64_t> positions;
  if (document.scored.empty()) positions.reserve(static_cast<std::size_t>(pass.end - pass.first_scored));
  for (std::int64_t position = pass.first_scored; position < pass.end; ++position) {
    if (document.scored.empty() || document.scored[static_cast<std::size_t>(position)] != 0) {
      positions.push_back(position);
    }
  }
  return positions;
}

void require_windows(const Fitness& fitness, std::int64_t length) {
  if (fitness.kind != FitnessKind::kSliding) return;
  if (fitness.window < 2 || fitness.window > length) {
    throw InputError(fmt::format("a window must be from 2 tokens to the length of {}: {}", length, fitness.window));
  }
  // The first token of a window has nothing before it: windows must overlap by one, or tokens would be left out.
  if (fitness.stride < 1 || fitness.stride >= fitness.window) {
    throw InputError(
        fmt::format("a stride must be from 1 to {}, below the window: {}", fitness.window - 1, fitness.stride));
  }
}

void require_measurable(const Fitness& fitness, const Document& document, std::int64_t length,
                        std::int64_t vocabulary) {
  require_scorable(document, length, vocabulary);
  require_windows(fitness, length);
  if (fitness.kind != FitnessKind::kAccuracy) return;
  if (document.scored.empty()) {
    throw InputError(fmt::format("accuracy needs a mask of the answers: document {} has none", document.name));
  }
  const auto end = static_cast<std::size_t>(length);
  if (end < document.scored.size() && document.scored[end - 1] != 0 && document.scored[end] != 0) {
    throw InputError(fmt::format("an answer must end within the first {} tokens: one goes on at token {} (document {})",
                                 length, length, document.name));
  }
}

void require_finite(const FitnessResult& result, const Document& document, std::int64_t length,
                    std::string_view factors) {
  if (std::isfinite(result.score.nll_sum)) return;
  throw Error(
      fmt::format("NLL is not finite: document {} at {} tokens under factors {}", document.name, length, factors));
}

void add_window(const ScoredTokens& scored, std::size_t count, FitnessResult& result) {
  double sum = 0.0;
  for (const float nll : std::span(scored.nll).last(count)) sum += static_cast<double>(nll);
  result.window_means += sum / static_cast<double>(count);
  ++result.windows;
}

void add_up(const ScoredTokens& scored, std::int64_t length, ScoreResult& result) {
  result.blocks.resize(static_cast<std::size_t>((length + kBlockTokens - 1) / kBlockTokens));
  for (std::size_t index = 0; index < scored.positions.size(); ++index) {
    ScoredBlock& block = result.blocks[static_cast<std::size_t>(scored.positions[index] / kBlockTokens)];
    block.nll_sum += static_cast<double>(scored.nll[index]);
    ++block.scored_tokens;
  }
  for (const ScoredBlock& block : result.blocks) {
    result.nll_sum += block.nll_sum;
    result.scored_tokens += block.scored_tokens;
  }
}

void count_answers(std::span<const std::int64_t> positions, std::span<const std::uint8_t> hits, FitnessResult& result) {
  bool right = true;
  for (std::size_t index = 0; index < positions.size(); ++index) {
    right = right && hits[index] != 0;
    if (index + 1 < positions.size() && positions[index + 1] == positions[index] + 1) continue;
    ++result.answers;
    if (right) ++result.right_answers;
    right = true;
  }
}

}  // namespace longrope
