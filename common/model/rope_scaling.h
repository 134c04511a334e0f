#pragma once

#include "common/rope/closed_form_factors.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longrope {

/// The rescaled angles that a checkpoint was trained with. Its λ divides the original frequencies f_i (spec §1).
struct RopeScaling {
  std::string type = "default";     // rope_type: "default" (none), "linear", "yarn", "llama3" or "longrope"
  RescaleFactors up_to_original;    // for documents of at most the original length: longrope's short_factor
  RescaleFactors beyond_original;   // for longer documents; differs from the first for longrope only
  std::int64_t reached_length = 0;  // tokens the model is made for; an extension is measured from here

  [[nodiscard]] bool scaled() const { return type != "default"; }
  /// The factors for a document of `length` tokens; transformers chooses in the same way.
  [[nodiscard]] const RescaleFactors& own_factors(const RotaryGeometry& geometry, std::int64_t length) const;
};

/// Everything that config.json says about rotary angles.
struct RopeParameters {
  RotaryGeometry geometry;
  RopeScaling scaling;
  std::vector<std::string> warnings;  // keys that change numbers of other engines and none here, with their place
  std::string assumption;             // how far the model was taken to reach, where that is left open; else empty
};

/// Reads rope_theta, partial_rotary_factor, and rope_scaling (transformers 4) or rope_parameters (transformers 5) with
/// the formulas of transformers 5; spec §2.1, §2.5 to §2.7, §8.1, §8.2. Lengths by type:
/// - default: original_max_position_embeddings if given, else max_position_embeddings; reached is the same.
/// - linear, yarn: original as above; reached is factor times that. Without original_max_position_embeddings it is open
///   whether max_position_embeddings is the length before the extension, as transformers takes it, or after it, as some
///   trainers write it. `reached_length` decides; then original is reached / factor. Angles are those of transformers
///   in both cases: yarn's ramp is that of max_position_embeddings.
/// - llama3, longrope: original_max_position_embeddings, which must be given; reached is max_position_embeddings.
/// The attention factor of longrope is `attention_factor` when given (policy value), else su for the extension ratio:
/// `factor` where it is given, else max_position_embeddings / original_max_position_embeddings.
/// `reached_length`: tokens that the model is made for, as the user says it; nullopt: what config.json says.
/// Throws InputError naming key, value and place: other types (dynamic among them, whose angles change with the
/// length), parameters that differ by layer, values out of range, one key in two places with two values; a
/// `reached_length` that contradicts config.json.
[[nodiscard]] RopeParameters parse_rope_parameters(const nlohmann::json& config, const std::string& place,
                                                   std::int64_t head_dim,
                                                   std::optional<std::int64_t> reached_length = std::nullopt);

/// The two tables of a config of type "longrope", or "su", its old name.
struct LongropeTables {
  RescaleFactors long_factors;                  // long_factor: beyond the original length
  std::optional<RescaleFactors> short_factors;  // short_factor: up to and including it; nullopt: none is given
  std::optional<std::int64_t> original_length;  // original_max_position_embeddings; nullopt: it is not given
};

/// The same reading of a config that may be only a part of one, such as overrides for an engine: what
/// parse_rope_parameters needs besides may be absent, but what is given obeys the same rules and gives the same
/// factors. The number of λ is checked where read_head_dim() finds a head_dim. Throws InputError for other types, and
/// where neither attention_factor nor the lengths that su needs are given.
[[nodiscard]] LongropeTables parse_longrope_tables(const nlohmann::json& config, const std::string& place);

/// A closed form of closed_form_factors for `length` tokens, on top of the checkpoint's own scaling: its extension
/// ratio counts from the length that the checkpoint reaches, and λ and attention factor are multiplied by the
/// checkpoint's own (spec §5.1). For a checkpoint without scaling it is the closed form itself. Throws InputError for
/// another name.
[[nodiscard]] RescaleFactors extended_factors(std::string_view closed_form, const RotaryGeometry& geometry,
                                              const RopeScaling& scaling, std::int64_t length);
/// Dynamic NTK (dynamic_ntk_factors) on top of the checkpoint's own scaling, in the same way. `factor` is Hugging
/// Face's, relative to the reached length; a search has none, so this is not a closed form of extended_factors.
[[nodiscard]] RescaleFactors extended_dynamic_ntk(const RotaryGeometry& geometry, const RopeScaling& scaling,
                                                  double factor, std::int64_t length);

}  // namespace longrope
