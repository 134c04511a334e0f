#pragma once

#include "common/rope/closed_form_factors.h"
#include "common/rope/factor_gradient.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// A point of a space: what is enumerated or mutated, and what a gradient moves.
struct SpaceParameters {
  std::vector<std::int64_t> discrete;
  std::vector<double> continuous;

  bool operator==(const SpaceParameters&) const = default;
};

struct DiscreteRange {
  std::string name;
  std::int64_t lower = 0;
  std::int64_t upper = 0;  // inclusive
};

struct ContinuousRange {
  std::string name;  // "ln_…" is a natural logarithm
  double lower = 0.0;
  double upper = 0.0;  // inclusive
};

/// What a point gives a model.
struct SpaceFactors {
  std::vector<double> lambda;     // [pairs]
  double attention_factor = 1.0;  // m
};

/// What a space is made for.
struct SpaceSettings {
  RotaryGeometry geometry;
  double ratio = 1.0;        // target length / length that the model reaches, at least 1
  double upper_bound = 1.0;  // largest λ, above 1
};

/// Factor sets that one form of configuration can express. The continuous parameters are chosen so that bounds are
/// constants; what an engine rounds is discrete and has no gradient.
/// λ and m are measured over what the checkpoint carries where the caller multiplies by that, else they are total: the
/// derivatives by ln λ and ln m are the same. Immutable. The methods throw InputError for parameters of another shape,
/// not finite, or discrete ones that are not admitted.
class FactorSpace {
 public:
  virtual ~FactorSpace() = default;

  /// Inclusive bounds of each discrete parameter; not every combination is admitted.
  [[nodiscard]] const std::vector<DiscreteRange>& discrete() const { return discrete_; }
  [[nodiscard]] bool admits(const std::vector<std::int64_t>& discrete) const;
  /// Bounds of the continuous parameters under these discrete ones, on which their number may depend.
  [[nodiscard]] std::vector<ContinuousRange> continuous(const std::vector<std::int64_t>& discrete) const;

  /// Index of ln m among the continuous parameters; nullopt: the space has m = 1.
  [[nodiscard]] std::optional<std::size_t> attention_parameter(const std::vector<std::int64_t>& discrete) const;

  /// The closed form that the space generalises, within the bounds.
  [[nodiscard]] SpaceParameters start() const;
  [[nodiscard]] SpaceFactors factors(const SpaceParameters& parameters) const;
  /// Gradient by the continuous parameters, at `parameters`, by the chain rule. One-sided where a formula has a kink.
  [[nodiscard]] std::vector<double> chain(const SpaceParameters& parameters, const FactorGradient& gradient) const;

  /// How far each continuous parameter may move for one unit of conditioned motion (gradient-search spec §3), in which
  /// ln λ_i counts in units of c_i = min(1, 0.03 / f_i) and ln m in units of 0.1: 1 / |column of the derivatives in
  /// those units|, or the width of its range where nothing depends on it.
  [[nodiscard]] std::vector<double> scales(const SpaceParameters& parameters) const;
  /// The nearest point within the bounds whose λ never fall from pair to pair, distances in units of scales() at
  /// `parameters`.
  [[nodiscard]] SpaceParameters project(SpaceParameters parameters) const;

 protected:
  FactorSpace(SpaceSettings settings, std::vector<DiscreteRange> discrete);

  [[nodiscard]] const SpaceSettings& settings() const { return settings_; }
  [[nodiscard]] std::size_t pairs() const { return settings_.geometry.pairs(); }
  /// Range of ln m: m from 1/2 to 2. The largest published one is 1.62 (YaRN at 512 times the length).
  [[nodiscard]] static ContinuousRange attention_range();
  /// Range of a ln λ, from λ = 1 to the upper bound.
  [[nodiscard]] ContinuousRange lambda_range(std::string name) const;

 private:
  // What a space is; parameters are checked before.
  [[nodiscard]] virtual bool in_order(const std::vector<std::int64_t>& /*discrete*/) const { return true; }
  [[nodiscard]] virtual std::vector<ContinuousRange> ranges(const std::vector<std::int64_t>& discrete) const = 0;
  /// Leading continuous parameters that must not fall from one to the next.
  [[nodiscard]] virtual std::size_t ordered(const std::vector<std::int64_t>& /*discrete*/) const { return 0; }
  [[nodiscard]] virtual SpaceParameters closed_form() const = 0;
  [[nodiscard]] virtual SpaceFactors factors_at(const SpaceParameters& parameters) const = 0;
  [[nodiscard]] virtual std::vector<double> chain_at(const SpaceParameters& parameters,
                                                     const FactorGradient& gradient) const = 0;

  void require_admitted(const std::vector<std::int64_t>& discrete) const;
  void require_usable(const SpaceParameters& parameters) const;

  SpaceSettings settings_;
  std::vector<DiscreteRange> discrete_;
};

/// The space of that name: "full", "critical" (pair_spaces.h), "theta", "yarn", "llama3" (engine_spaces.h) or
/// "boundary" (boundary_space.h). Throws InputError for another name and settings out of range.
[[nodiscard]] std::unique_ptr<FactorSpace> make_factor_space(std::string_view name, const SpaceSettings& settings);

}  // namespace longrope
