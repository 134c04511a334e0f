#include "common/wire/score_result.h"

#include "common/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace longrope {
namespace {

/// Larger than the NLL of any document or the seconds of any evaluation; sums of such numbers stay finite.
constexpr double kLargestSum = 1e15;

bool is_sum(double value) { return value >= 0.0 && value <= kLargestSum; }  // false for NaN

}  // namespace

std::string_view to_string(EvaluationKind kind) {
  switch (kind) {
    case EvaluationKind::kScore:
      return "score";
    case EvaluationKind::kGradient:
      return "gradient";
  }
  throw Error(fmt::format("unknown evaluation kind: {}", static_cast<int>(kind)));
}

void add_result(const ScoreResult& result, ScoreResult& total) {
  total.nll_sum += result.nll_sum;
  total.scored_tokens += result.scored_tokens;
  total.seconds += result.seconds;
  total.peak_memory_bytes = std::max(total.peak_memory_bytes, result.peak_memory_bytes);
  total.blocks.resize(std::max(total.blocks.size(), result.blocks.size()));
  for (std::size_t block = 0; block < result.blocks.size(); ++block) {
    total.blocks[block].nll_sum += result.blocks[block].nll_sum;
    total.blocks[block].scored_tokens += result.blocks[block].scored_tokens;
  }
}

double perplexity(double nll_sum, std::int64_t scored_tokens) {
  return std::exp(nll_sum / static_cast<double>(scored_tokens));
}

std::string_view to_string(EvaluationError error) {
  switch (error) {
    case EvaluationError::kNonFinite:
      return "non_finite";
    case EvaluationError::kOutOfMemory:
      return "out_of_memory";
    case EvaluationError::kBadDocument:
      return "bad_document";
    case EvaluationError::kBadFactors:
      return "bad_factors";
    case EvaluationError::kInternal:
      return "internal";
  }
  throw Error(fmt::format("unknown evaluation error: {}", static_cast<int>(error)));
}

std::string why_rejected(const ScoreResult& result, const ExpectedResult& expected) {
  // A worker may sum in another order than we do; anything beyond rounding is a fault.
  constexpr double kRelativeTolerance = 1e-9;
  if (!is_sum(result.nll_sum)) return fmt::format("nll_sum must be finite, >= 0 and at most 1e15: {}", result.nll_sum);
  if (result.scored_tokens != expected.scored_tokens) {
    return fmt::format("scored_tokens must be {}: {}", expected.scored_tokens, result.scored_tokens);
  }
  const std::int64_t length = expected.length;
  const std::int64_t expected_blocks = length / kBlockTokens + (length % kBlockTokens != 0 ? 1 : 0);
  if (static_cast<std::int64_t>(result.blocks.size()) != expected_blocks) {
    return fmt::format("blocks must number {} for {} tokens: {}", expected_blocks, length, result.blocks.size());
  }
  double nll_sum = 0.0;
  std::int64_t scored_tokens = 0;
  for (std::size_t index = 0; index < result.blocks.size(); ++index) {
    const ScoredBlock& block = result.blocks[index];
    if (!is_sum(block.nll_sum)) {
      return fmt::format("nll_sum must be finite, >= 0 and at most 1e15: block {} has {}", index, block.nll_sum);
    }
    const std::int64_t positions = std::min(kBlockTokens, length - static_cast<std::int64_t>(index) * kBlockTokens);
    if (block.scored_tokens < 0 || block.scored_tokens > positions) {
      return fmt::format("scored_tokens must be between 0 and {}: block {} has {}", positions, index,
                         block.scored_tokens);
    }
    if (block.scored_tokens == 0 && block.nll_sum != 0.0) {
      return fmt::format("nll_sum must be 0 where nothing is scored: block {} has {}", index, block.nll_sum);
    }
    nll_sum += block.nll_sum;
    scored_tokens += block.scored_tokens;
  }
  if (scored_tokens != result.scored_tokens) {
    return fmt::format("scored_tokens of the blocks must add up to {}: {}", result.scored_tokens, scored_tokens);
  }
  // Negated, so that a sum that overflowed to infinity is refused as well.
  if (!(std::abs(nll_sum - result.nll_sum) <= kRelativeTolerance * result.nll_sum)) {
    return fmt::format("nll_sum of the blocks must add up to {}: {}", result.nll_sum, nll_sum);
  }
  if (result.gradient.size() != expected.gradient_size) {
    return fmt::format("gradient must have {} numbers: {}", expected.gradient_size, result.gradient.size());
  }
  const auto wrong = std::ranges::find_if_not(result.gradient, [](double value) { return is_sum(std::abs(value)); });
  if (wrong != result.gradient.end()) {
    return fmt::format("gradient must be finite and at most 1e15: number {} is {}", wrong - result.gradient.begin(),
                       *wrong);
  }
  if (!is_sum(result.seconds)) return fmt::format("seconds must be finite, >= 0 and at most 1e15: {}", result.seconds);
  if (result.peak_memory_bytes < 0) {
    return fmt::format("peak_memory_bytes must be >= 0: {}", result.peak_memory_bytes);
  }
  return {};
}

std::string_view to_string(ComputeDtype dtype) { return dtype == ComputeDtype::kBf16 ? "bf16" : "fp32"; }

ComputeDtype parse_compute_dtype(std::string_view text) {
  if (text == "fp32") return ComputeDtype::kFp32;
  if (text == "bf16") return ComputeDtype::kBf16;
  throw InputError("dtype must be fp32 or bf16: " + std::string(text));
}

}  // namespace longrope
