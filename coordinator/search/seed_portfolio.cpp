#include "common/rope/band_factors.h"
#include "common/rope/closed_form_factors.h"
#include "coordinator/search/seed_list.h"
#include "coordinator/search/seeds.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr double kRotationsFast = 32.0;  // the ends of YaRN's ramp as its authors chose them
constexpr double kRotationsSlow = 1.0;

struct Ramp {
  double fast;
  double slow;
};
// Most believed first. A start of the ramp at fewer rotations leaves more of the high frequencies alone, which was the
// better choice on the bundled model; larger models were published with 32.
constexpr std::array<Ramp, 5> kYarnRamps = {
    {{kRotationsFast, kRotationsSlow}, {16.0, 1.0}, {64.0, 1.0}, {32.0, 2.0}, {8.0, 1.0}}};
// TailSpline rises steeply at the start of its band; a band that starts later is its milder variant.
constexpr std::array<Ramp, 2> kTailSplineRamps = {{{kRotationsFast, kRotationsSlow}, {16.0, 1.0}}};

/// "seed:yarn" for the authors' own ramp, "seed:yarn-16-1" for another.
std::string origin_of(const char* form, const Ramp& ramp) {
  if (ramp.fast == kRotationsFast && ramp.slow == kRotationsSlow) return fmt::format("seed:{}", form);
  return fmt::format("seed:{}-{}-{}", form, ramp.fast, ramp.slow);
}

/// `lambda`, which was made for another extension ratio, for `ratio`. nullopt: it was made for this one, or its λ says
/// nothing about a ratio because none is above 1.
std::optional<std::vector<double>> rescaled_by_depth(std::vector<double> lambda, double ratio, double upper_bound) {
  const double largest = *std::ranges::max_element(lambda);
  if (largest <= 1.0 || (largest >= ratio && largest <= upper_bound)) return std::nullopt;
  for (double& value : lambda) value = std::pow(ratio, std::log(value) / std::log(largest));
  return lambda;
}

}  // namespace

std::vector<Seed> seed_portfolio(const SearchSpace& search_space, const GenomeSpace& genome_space) {
  const RotaryGeometry& geometry = search_space.geometry;
  const double ratio = std::max(
      1.0, static_cast<double>(search_space.target_length) / static_cast<double>(search_space.reached_length()));
  const RopeScaling& scaling = search_space.scaling;
  const AttentionFactor attention = scaling.scaled() ? scaling.beyond_original.attention : AttentionFactor{};
  SeedList list(genome_space);
  const auto add = [&](std::string origin, const std::vector<double>& lambda) {
    list.add_rounded(std::move(origin), lambda, list.smallest_n_hat(), attention);
  };
  for (const Ramp& ramp : kYarnRamps) {
    add(origin_of("yarn", ramp), yarn_factors(geometry, ratio, {.beta_fast = ramp.fast, .beta_slow = ramp.slow}));
  }
  add("seed:ntk", ntk_factors(geometry, ratio));
  add("seed:pi", pi_factors(geometry, ratio));
  add("seed:mrrope-pro", mrrope_pro_factors(geometry, ratio));
  add("seed:bm", bm_factors(geometry, ratio));
  for (const Ramp& ramp : kTailSplineRamps) {
    add(origin_of("tailspline", ramp),
        tail_spline_factors(geometry, ratio, {.beta_fast = ramp.fast, .beta_slow = ramp.slow}));
  }
  const std::int64_t critical = critical_pair(geometry, geometry.original_length);
  add("seed:ntk-critical", ntk_below_critical(geometry.pairs(), static_cast<std::size_t>(critical), ratio));
  add("seed:llama3", llama3_factors(geometry, {.factor = ratio}));
  for (std::size_t index = 0; index < search_space.published_seeds.size(); ++index) {
    const std::string origin = fmt::format("seed:published:{}", index + 1);
    RescaleFactors published = search_space.published_seeds[index];
    published.attention = attention;
    list.add_published(origin, published);
    const auto rescaled = rescaled_by_depth(secondary_lambda(genome_space, published.lambda), ratio,
                                            genome_space.grid.lambda(genome_space.grid.max_step()));
    if (rescaled) list.add_rounded(origin + "-rescaled", *rescaled, published.n_hat, attention);
  }
  return list.seeds();
}

}  // namespace longrope
