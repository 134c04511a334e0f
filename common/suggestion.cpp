#include "common/suggestion.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr std::size_t kLongestWord = 200;  // bounds the work on hostile input

/// Levenshtein distance.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0U : 1U);
      diagonal = std::exchange(row[j + 1], std::min({replaced, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

}  // namespace

std::string suggestion(std::string_view unknown, std::span<const std::string_view> known) {
  if (unknown.size() > kLongestWord) return "";
  std::size_t least = std::string_view::npos;
  std::string_view nearest;
  for (const std::string_view word : known) {
    const std::size_t distance = edit_distance(unknown, word);
    if (distance < least) {
      least = distance;
      nearest = word;
    }
  }
  const std::size_t still_close = 1 + nearest.size() / 4;
  return least <= still_close ? fmt::format("; did you mean {}?", nearest) : "";
}

}  // namespace longrope
