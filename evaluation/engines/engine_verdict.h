#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace longrope {

/// Mean NLLs of the same tokens of one document, in nats per token.
struct EngineComparison {
  std::string document;            // its name
  std::int64_t length = 0;         // tokens of it that were seen
  std::int64_t scored_tokens = 0;  // tokens whose NLLs the means are of
  std::string api;                 // how the engine was asked
  double engine = 0.0;             // what the engine says
  double with_factors = 0.0;       // ours, under the factors
  double without_factors = 0.0;    // ours, of the untouched model
  double tolerance = 0.0;          // > 0: what rounding and quantization may change
};

enum class EngineVerdict {
  kApplies,     // the engine's NLL is ours with the factors, within the tolerance
  kIgnores,     // it is ours without them
  kNeither,     // it is neither
  kCannotTell,  // ours lie too close together for this tolerance
};
[[nodiscard]] std::string_view to_string(EngineVerdict verdict);  // "applies", "ignores", "neither", "cannot tell"

/// Default of EngineComparison::tolerance, in nats per token: 5 % of perplexity. bfloat16 changed 0.003 on the bundled
/// model at 2,048 tokens, the wrong table 2.2.
inline constexpr double kEngineTolerance = 0.05;

/// Ours must differ by more than twice the tolerance, or nothing is said: then no NLL is within the tolerance of both,
/// and what is within that of one is nearer to it. An NLL at exactly the tolerance is within.
[[nodiscard]] EngineVerdict judge(const EngineComparison& comparison);

/// Three lines: what was measured, the three NLLs, the verdict in a sentence.
[[nodiscard]] std::string verdict_text(const EngineComparison& comparison);
[[nodiscard]] nlohmann::ordered_json verdict_json(const EngineComparison& comparison);

}  // namespace longrope
