#include "coordinator/search/spaces/boundary_space.h"

#include "common/rope/band_factors.h"

#include <algorithm>
#include <cmath>

namespace longrope {
namespace {

constexpr double kLargestShare = 1.0 - 1e-6;  // alpha = 1e6: the increment at that end is 0 to six digits

class BoundarySpace : public FactorSpace {
 public:
  explicit BoundarySpace(const SpaceSettings& settings)
      : FactorSpace(
            settings,
            {{.name = "last_kept", .lower = -1, .upper = static_cast<std::int64_t>(settings.geometry.pairs()) - 2},
             {.name = "first_full", .lower = 0, .upper = static_cast<std::int64_t>(settings.geometry.pairs())}}) {}

 private:
  static constexpr std::size_t kAlpha = 0;
  static constexpr std::size_t kBeta = 1;
  static constexpr std::size_t kTop = 2;
  static constexpr std::size_t kAttention = 3;

  static FrequencyBand band(const SpaceParameters& parameters) {
    return {.last_kept = parameters.discrete[0], .first_full = parameters.discrete[1]};
  }
  static BoundaryWeights weights(const SpaceParameters& parameters) {
    const auto weight = [](double share) { return share / (1.0 - share); };
    return {.alpha = weight(parameters.continuous[kAlpha]), .beta = weight(parameters.continuous[kBeta])};
  }
  double ln_top(const SpaceParameters& parameters) const {
    return std::log(settings().ratio) + parameters.continuous[kTop];
  }

  bool in_order(const std::vector<std::int64_t>& discrete) const override { return discrete[0] < discrete[1]; }

  std::vector<ContinuousRange> ranges(const std::vector<std::int64_t>& /*discrete*/) const override {
    return {{.name = "alpha_share", .lower = 0.0, .upper = kLargestShare},
            {.name = "beta_share", .lower = 0.0, .upper = kLargestShare},
            {.name = "ln_top_multiplier",
             .lower = -std::log(settings().ratio),
             .upper = std::log(settings().upper_bound / settings().ratio)},
            attention_range()};
  }

  SpaceParameters closed_form() const override {
    const FrequencyBand standard = frequency_band(settings().geometry);
    return {.discrete = {std::min(standard.last_kept, discrete().front().upper), standard.first_full},
            .continuous = {0.5, 0.5, 0.0, 0.0}};
  }

  SpaceFactors factors_at(const SpaceParameters& parameters) const override {
    return {.lambda = boundary_factors(pairs(), band(parameters), std::exp(ln_top(parameters)), weights(parameters)),
            .attention_factor = std::exp(parameters.continuous[kAttention])};
  }

  std::vector<double> chain_at(const SpaceParameters& parameters, const FactorGradient& gradient) const override {
    const BoundaryWeights at = weights(parameters);
    const BoundaryCurve curve = boundary_curve(band(parameters).steps(), at);
    std::vector<double> result(4, 0.0);
    for (std::size_t pair = 0; pair < pairs(); ++pair) {
      const auto step = static_cast<std::size_t>(std::clamp(
          static_cast<std::int64_t>(pair) - band(parameters).last_kept, std::int64_t{0}, band(parameters).steps()));
      result[kAlpha] += gradient.log_lambda[pair] * curve.by_alpha[step];
      result[kBeta] += gradient.log_lambda[pair] * curve.by_beta[step];
      result[kTop] += gradient.log_lambda[pair] * curve.value[step];
    }
    // A weight w = share / (1 − share) grows by (1 + w)² of its share.
    result[kAlpha] *= ln_top(parameters) * (1.0 + at.alpha) * (1.0 + at.alpha);
    result[kBeta] *= ln_top(parameters) * (1.0 + at.beta) * (1.0 + at.beta);
    result[kAttention] = gradient.log_attention;
    return result;
  }
};

}  // namespace

std::unique_ptr<FactorSpace> boundary_space(const SpaceSettings& settings) {
  return std::make_unique<BoundarySpace>(settings);
}

}  // namespace longrope
