#include "common/formats/named_factors.h"

#include "common/error.h"
#include "common/formats/factors_file.h"
#include "common/suggestion.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>

namespace longrope {
namespace {

constexpr std::array<std::string_view, 5> kClosedForms = {"none", "pi", "ntk", "yarn", "ramp"};

AttentionFactor parse_attention_factor(const std::string& text, const RotaryGeometry& geometry, std::int64_t length) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return {AttentionPolicy::kValue, value};
  const double ratio = static_cast<double>(length) / static_cast<double>(geometry.original_length);
  return attention_factor(parse_attention_policy(text), ratio, geometry.original_length);
}

/// Refuses a word that was meant as a method: as a file it would only be missing.
void require_method_or_file(const std::string& factors) {
  if (is_closed_form(factors) || factors.find_first_of("./") != std::string::npos) return;
  if (std::error_code ignored; std::filesystem::exists(factors, ignored)) return;
  throw InputError(fmt::format("factors must be none, pi, ntk, yarn, ramp or a file that exists: {}{}", factors,
                               suggestion(factors, kClosedForms)));
}

}  // namespace

bool is_closed_form(std::string_view factors) { return std::ranges::find(kClosedForms, factors) != kClosedForms.end(); }

RescaleFactors named_factors(const std::string& factors, const std::string& attention, const ModelDescription& model,
                             std::int64_t length) {
  require_method_or_file(factors);
  const RotaryGeometry& geometry = model.geometry;
  RescaleFactors result = is_closed_form(factors) ? extended_factors(factors, geometry, model.scaling, length)
                                                  : read_factors(factors, length);
  if (!attention.empty()) result.attention = parse_attention_factor(attention, geometry, length);
  validate(result, geometry.pairs(), factors);
  return result;
}

}  // namespace longrope
