#include "common/formats/factors_csv.h"

#include "common/error.h"
#include "common/files/read_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>
#include <vector>

namespace longrope {
namespace {

std::string_view without_spaces_around(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r";
  const std::size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

/// The part before `separator`; removes both from `rest`.
std::string_view take_until(std::string_view& rest, char separator) {
  const std::size_t end = std::min(rest.find(separator), rest.size());
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

/// The field as ASCII, shortened: it may be hostile and the message goes to a terminal.
std::string shown(std::string_view field) {
  constexpr std::size_t kLongestShown = 40;
  return nlohmann::json(field.substr(0, kLongestShown))
      .dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
}

// No head has more than 65,536 channels; a file with more factors holds something else.
constexpr std::size_t kMaxPairs = 32768;

double parse_lambda(std::string_view field, std::size_t pair, std::string_view place, std::size_t line) {
  if (pair >= kMaxPairs) {
    throw InputError(fmt::format("factors must number at most {}: more ({}:{})", kMaxPairs, place, line));
  }
  double lambda = 0.0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), lambda);
  if (error != std::errc() || end != field.data() + field.size()) {
    throw InputError(fmt::format("lambda must be a number: pair {} is {} ({}:{})", pair, shown(field), place, line));
  }
  if (!std::isfinite(lambda)) {
    throw InputError(fmt::format("lambda must be finite: pair {} is {} ({}:{})", pair, lambda, place, line));
  }
  if (lambda <= 0.0) {
    throw InputError(fmt::format("lambda must be positive: pair {} is {} ({}:{})", pair, lambda, place, line));
  }
  return lambda;
}

}  // namespace

RescaleFactors parse_factors_csv(std::string_view text, std::string_view place) {
  text = without_byte_order_mark(text);  // spreadsheets write one
  const std::size_t content_end = text.find_last_not_of(" \t\r\n");
  if (content_end == std::string_view::npos) {
    throw InputError(fmt::format("factors file must not be empty: 0 factors ({})", place));
  }
  std::string_view rest = text.substr(0, content_end + 1);
  const bool has_rows = rest.find(',') != std::string_view::npos;
  std::vector<double> lambda;
  for (std::size_t line = 1; !rest.empty(); ++line) {
    std::string_view fields = without_spaces_around(take_until(rest, '\n'));
    if (!has_rows) {
      lambda.push_back(parse_lambda(fields, lambda.size(), place, line));
      continue;
    }
    std::vector<double> row;
    const bool ends_in_comma = fields.ends_with(',');
    while (!fields.empty()) {
      row.push_back(parse_lambda(without_spaces_around(take_until(fields, ',')), row.size(), place, line));
    }
    if (ends_in_comma) {
      throw InputError(fmt::format("lambda must be a number: pair {} is \"\" ({}:{})", row.size(), place, line));
    }
    if (line == 1) lambda = row;
    if (row.size() != lambda.size()) {
      throw InputError(
          fmt::format("rows must have {} factors as the first: {} ({}:{})", lambda.size(), row.size(), place, line));
    }
    for (std::size_t pair = 0; pair < row.size(); ++pair) {
      if (row[pair] == lambda[pair]) continue;
      throw InputError(fmt::format("rows must be equal, as all layers share one lambda: pair {} is {} after {} ({}:{})",
                                   pair, row[pair], lambda[pair], place, line));
    }
  }
  return exact_factors(std::move(lambda), /*n_hat=*/0, {.policy = AttentionPolicy::kNone, .value = 1.0});
}

std::string format_factors_csv(const RescaleFactors& factors, std::optional<std::int64_t> rows) {
  constexpr std::size_t kMaxBytes = 16UL << 20U;  // readers refuse larger files
  if (!rows) return fmt::format("{}\n", fmt::join(factors.lambda, "\n"));
  const std::string row = fmt::format("{}\n", fmt::join(factors.lambda, ","));
  const auto most = static_cast<std::int64_t>(kMaxBytes / row.size());
  if (*rows < 1 || *rows > most) throw InputError(fmt::format("rows must number from 1 to {}: {}", most, *rows));
  if (factors.lambda.size() < 2) {
    throw InputError(fmt::format("rows must have at least 2 factors: {}", factors.lambda.size()));
  }
  std::string text;
  for (std::int64_t layer = 0; layer < *rows; ++layer) text += row;
  return text;
}

}  // namespace longrope
