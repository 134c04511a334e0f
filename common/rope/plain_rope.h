#pragma once

#include "common/rope/closed_form_factors.h"
#include "common/rope/rescale_factors.h"

#include <cstdint>
#include <optional>
#include <string>

namespace longrope {

/// The rules for angles that engines know by a few numbers instead of one λ for each pair.
enum class PlainRopeType { kLinear, kTheta, kYarn, kLlama3 };

/// Factors that are one of these rules: what config.json says as rope_type "linear", as a changed rope_theta, as "yarn"
/// or as "llama3" (spec §2). The numbers of the other rules keep their defaults.
struct PlainRope {
  PlainRopeType type = PlainRopeType::kTheta;
  double rope_theta = 10000.0;       // base of the angles; the model's own unless the type is kTheta
  double factor = 1.0;               // largest λ of linear, yarn and llama3
  YarnOptions yarn;                  // yarn: its band, truncated to whole pairs as transformers does by default
  double low_freq_factor = 1.0;      // llama3
  double high_freq_factor = 4.0;     // llama3
  std::int64_t original_length = 0;  // L0 that the band of yarn and the wavelengths of llama3 refer to, in tokens
  AttentionFactor attention;         // m, which only some engines take beside each rule

  /// "yarn with factor 8, beta_fast 32 and beta_slow 1", for messages.
  [[nodiscard]] std::string text() const;
};

/// Largest relative difference of any λ from what the rule gives. Factors of a rule that were rounded to a grid of
/// 1/100 differ by up to 5e-3, and are not that rule's.
inline constexpr double kPlainRopeTolerance = 1e-6;

/// The rule that gives these factors, in the order of PlainRopeType with kTheta first; nullopt when none gives every λ
/// within kPlainRopeTolerance, or n_hat > 0. All ones are kTheta with the model's own rope_theta.
/// - yarn: the band as two whole pairs, and betas that floor and ceil to them with a margin that float32 cannot cross:
///   32 and 1 where these do. A band that ends beyond the last pair leaves the factor open; then it is target_length /
///   original length where that fits.
/// - llama3: two pairs at least between its two wavelengths, which determine them.
/// Throws InputError for a geometry that closed forms refuse.
[[nodiscard]] std::optional<PlainRope> plain_rope_of(const RescaleFactors& factors, const RotaryGeometry& geometry,
                                                     std::int64_t target_length);

}  // namespace longrope
