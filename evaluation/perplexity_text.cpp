#include "evaluation/perplexity_text.h"

#include <fmt/format.h>

namespace longrope {

std::string perplexity_text(double perplexity) {
  constexpr double kFourDigits = 1000.0;
  constexpr double kTooLong = 1e6;
  if (perplexity >= kTooLong) return fmt::format("{:.2e}", perplexity);
  return perplexity < kFourDigits ? fmt::format("{:#.4g}", perplexity) : fmt::format("{:.0f}", perplexity);
}

}  // namespace longrope
