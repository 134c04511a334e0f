#include "coordinator/search/seed_list.h"

#include <algorithm>
#include <utility>

namespace longrope {
namespace {

bool never_falls(const std::vector<double>& lambda, double tolerance) {
  const auto falls = [tolerance](double left, double right) { return right < left * (1.0 - tolerance); };
  return std::ranges::adjacent_find(lambda, falls) == lambda.end();
}

}  // namespace

void SeedList::add_rounded(std::string origin, const std::vector<double>& lambda, std::int64_t n_hat,
                           const AttentionFactor& attention) {
  add(std::move(origin), rounded_factors(lambda, n_hat, attention, space_));
}

void SeedList::add_published(std::string origin, const RescaleFactors& published) {
  validate(published, space_.pairs, origin);
  // Published arrays have seven digits: their quotients with a base differ in the last along one plateau.
  const double tolerance = space_.base_lambda.empty() ? 0.0 : 1e-6;
  const std::vector<double> secondary = secondary_lambda(space_, published.lambda);
  if (never_falls(secondary, tolerance)) {
    add(std::move(origin), published);
  } else {
    add_rounded(std::move(origin), secondary, published.n_hat, published.attention);
  }
}

std::int64_t SeedList::smallest_n_hat() const { return *std::ranges::min_element(space_.n_hat_choices); }

void SeedList::add(std::string origin, RescaleFactors factors) {
  if (digests_.insert(digest(factors)).second) {
    seeds_.push_back({.origin = std::move(origin), .factors = std::move(factors)});
  }
}

}  // namespace longrope
