#include "common/size_text.h"

#include <fmt/format.h>

#include <cmath>

namespace longrope {
namespace {

double rounded(double value, SizeRounding rounding) {
  if (rounding == SizeRounding::kUp) return std::ceil(value);
  return rounding == SizeRounding::kDown ? std::floor(value) : std::round(value);
}

}  // namespace

std::string size_text(std::int64_t bytes, SizeRounding rounding) {
  constexpr std::int64_t kKibibyte = std::int64_t{1} << 10;
  constexpr std::int64_t kMebibyte = std::int64_t{1} << 20;
  constexpr std::int64_t kGibibyte = std::int64_t{1} << 30;
  const auto in = [&](std::int64_t unit, const char* name) {
    const double tenths = 10.0 * static_cast<double>(bytes) / static_cast<double>(unit);
    return fmt::format("{:.1f} {}", rounded(tenths, rounding) / 10.0, name);
  };
  if (bytes >= kGibibyte) return in(kGibibyte, "GiB");
  return bytes >= kMebibyte ? in(kMebibyte, "MiB") : in(kKibibyte, "KiB");
}

std::string grouped_digits(std::int64_t number) {
  constexpr std::size_t kGroup = 3;
  std::string digits = fmt::format("{}", number);
  const std::size_t first = number < 0 ? 1 : 0;  // the sign is no digit
  for (std::size_t end = digits.size(); end > first + kGroup; end -= kGroup) digits.insert(end - kGroup, ",");
  return digits;
}

}  // namespace longrope
