#include "common/model/rope_scaling.h"

#include "common/error.h"
#include "common/files/json_object.h"
#include "common/model/hugging_face_factors.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace longrope {
namespace {

constexpr std::int64_t kShortest = 2;  // the su rule divides by ln L0
constexpr std::int64_t kLongest = std::int64_t{1} << 31;
constexpr double kMaxRopeTheta = 1e12;
constexpr double kDefaultRopeTheta = 10000.0;  // of every architecture in transformers
constexpr double kMaxFactor = 1e6;
constexpr std::string_view kOriginal = "original_max_position_embeddings";
constexpr std::string_view kPartialRotary = "partial_rotary_factor";

double number_above(const JsonObject& object, std::string_view key, double low, double high) {
  const double value = object.number(key);
  if (!(value > low && value <= high)) {
    object.refuse(key, fmt::format("must be a number above {} and at most {}", low, high));
  }
  return value;
}

/// rope_scaling or rope_parameters, if there is one.
std::optional<JsonObject> rope_of(const JsonObject& config) {
  const bool version_4 = config.has("rope_scaling");
  const bool version_5 = config.has("rope_parameters");
  if (version_4 && version_5) {
    throw InputError(fmt::format("config must have rope_scaling or rope_parameters: both ({})", config.where()));
  }
  if (version_4) return config.object("rope_scaling");
  if (version_5) return config.object("rope_parameters");
  return std::nullopt;
}

/// A key that may stand at top level, in the rope parameters, or in both with one value.
template <typename Read>
auto at_top_or_inside(const JsonObject& config, const std::optional<JsonObject>& rope, std::string_view key,
                      const Read& read) -> std::optional<decltype(read(config))> {
  const bool inside = rope && rope->has(key);
  if (!config.has(key)) return inside ? std::optional(read(*rope)) : std::nullopt;
  const auto top = read(config);
  if (inside && read(*rope) != top) rope->refuse(key, fmt::format("must be the same as at top level, {}", top));
  return top;
}

std::string type_of(const std::optional<JsonObject>& rope) {
  if (!rope) return "default";
  const std::string_view key = rope->has("rope_type") ? "rope_type" : "type";
  // Without a type Hugging Face assumes none; but parameters by layer type look the same and would be lost.
  for (const char* const layer_type : {"full_attention", "sliding_attention"}) {
    if (rope->has(layer_type)) rope->refuse(layer_type, "must be absent (rope parameters by layer are not supported)");
  }
  std::string type = rope->has(key) ? rope->text(key) : "default";
  if (type == "su") type = "longrope";  // its old name
  for (const char* const known : {"default", "linear", "yarn", "llama3", "longrope"}) {
    if (type == known) return type;
  }
  rope->refuse(key, "must be default, linear, yarn, llama3 or longrope");
}

AttentionFactor yarn_attention(const JsonObject& rope, const RotaryGeometry& geometry, double factor) {
  constexpr double kLargest = 1e3;
  if (rope.has("attention_factor")) {
    return {AttentionPolicy::kValue, number_above(rope, "attention_factor", 0.0, kLargest)};
  }
  const auto optional = [&](const char* key) { return rope.has(key) ? rope.number_between(key, 0.0, kLargest) : 0.0; };
  const double mscale = optional("mscale");
  const double mscale_all_dim = optional("mscale_all_dim");
  if (mscale == 0.0 || mscale_all_dim == 0.0) {  // as in transformers, where 0 is no value
    return attention_factor(AttentionPolicy::kYarn, factor, geometry.original_length);
  }
  const auto magnitude = [&](double scale) { return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; };
  return {AttentionPolicy::kValue, magnitude(mscale) / magnitude(mscale_all_dim)};
}

RescaleFactors yarn_scaling(const JsonObject& rope, const RotaryGeometry& geometry, double factor) {
  constexpr double kMaxTurns = 1e6;
  YarnOptions options;
  if (rope.has("beta_fast")) options.beta_fast = number_above(rope, "beta_fast", 0.0, kMaxTurns);
  if (rope.has("beta_slow")) options.beta_slow = number_above(rope, "beta_slow", 0.0, kMaxTurns);
  if (rope.has("truncate")) options.truncate = rope.boolean("truncate");
  return exact_factors(yarn_factors(geometry, factor, options), /*n_hat=*/0, yarn_attention(rope, geometry, factor));
}

RescaleFactors llama3_scaling(const JsonObject& rope, const RotaryGeometry& geometry, double factor) {
  const Llama3Options options = {.factor = factor,
                                 .low_freq_factor = number_above(rope, "low_freq_factor", 0.0, kMaxFactor),
                                 .high_freq_factor = number_above(rope, "high_freq_factor", 0.0, kMaxFactor)};
  return exact_factors(llama3_factors(geometry, options), /*n_hat=*/0, {});
}

std::int64_t even_rotary_dim(const JsonObject& config, const std::optional<JsonObject>& rope, std::int64_t head_dim) {
  const auto part = at_top_or_inside(config, rope, kPartialRotary, [](const JsonObject& object) {
    return number_above(object, kPartialRotary, 0.0, 1.0);
  });
  const auto dim = static_cast<std::int64_t>(static_cast<double>(head_dim) * part.value_or(1.0));  // rounded down
  if (dim < 4 || dim % 2 != 0) {
    throw InputError(
        fmt::format("head_dim times partial_rotary_factor must be even and at least 4: {} ({})", dim, config.where()));
  }
  return dim;
}

RescaleFactors on_top_of(const RescaleFactors& own, const RescaleFactors& extension) {
  RescaleFactors total = compose(own, extension);
  total.attention = compose(own.attention, extension.attention);
  return total;
}

}  // namespace

const RescaleFactors& RopeScaling::own_factors(const RotaryGeometry& geometry, std::int64_t length) const {
  return length > geometry.original_length ? beyond_original : up_to_original;
}

RopeParameters parse_rope_parameters(const nlohmann::json& document, const std::string& place, std::int64_t head_dim) {
  const JsonObject config(document, place);
  const std::optional<JsonObject> rope = rope_of(config);
  RopeParameters parameters;
  RotaryGeometry& geometry = parameters.geometry;
  RopeScaling& scaling = parameters.scaling;
  scaling.type = type_of(rope);
  geometry.rotary_dim = even_rotary_dim(config, rope, head_dim);
  geometry.rope_theta = at_top_or_inside(config, rope, "rope_theta", [](const JsonObject& object) {
                          return number_above(object, "rope_theta", 1.0, kMaxRopeTheta);
                        }).value_or(kDefaultRopeTheta);
  const std::int64_t longest = config.integer("max_position_embeddings", kShortest, kLongest);
  const auto original = at_top_or_inside(
      config, rope, kOriginal, [](const JsonObject& object) { return object.integer(kOriginal, kShortest, kLongest); });
  geometry.original_length = original.value_or(longest);
  const bool length_decides = scaling.type == "llama3" || scaling.type == "longrope";
  if (length_decides && !original) {
    throw InputError(fmt::format("{} must be given with rope type {}: absent ({})", kOriginal, scaling.type, place));
  }
  if (length_decides && longest < geometry.original_length) {
    config.refuse("max_position_embeddings", fmt::format("must be at least {}, {}", kOriginal, *original));
  }
  scaling.reached_length = length_decides ? longest : geometry.original_length;
  if (scaling.type == "longrope") {
    scaling.up_to_original = parse_hugging_face_short_factors(document, place);
    scaling.beyond_original = parse_hugging_face_factors(document, place);
  } else if (!scaling.scaled()) {
    scaling.up_to_original = exact_factors(std::vector<double>(geometry.pairs(), 1.0), /*n_hat=*/0, {});
    scaling.beyond_original = scaling.up_to_original;
  } else {
    const double factor = rope->number_between("factor", 1.0, kMaxFactor);
    if (!length_decides) {
      scaling.reached_length = std::llround(factor * static_cast<double>(geometry.original_length));
    }
    if (scaling.type == "linear") {
      scaling.up_to_original = exact_factors(pi_factors(geometry, factor), /*n_hat=*/0, {});
    } else if (scaling.type == "yarn") {
      scaling.up_to_original = yarn_scaling(*rope, geometry, factor);
    } else {
      scaling.up_to_original = llama3_scaling(*rope, geometry, factor);
    }
    scaling.beyond_original = scaling.up_to_original;
  }
  for (const RescaleFactors* const factors : {&scaling.up_to_original, &scaling.beyond_original}) {
    validate(*factors, geometry.pairs(), place);
  }
  return parameters;
}

RescaleFactors extended_factors(std::string_view closed_form, const RotaryGeometry& geometry,
                                const RopeScaling& scaling, std::int64_t length) {
  if (!scaling.scaled()) return closed_form_factors(closed_form, geometry, length);
  return on_top_of(scaling.own_factors(geometry, length),
                   closed_form_factors(closed_form, geometry, length, scaling.reached_length));
}

RescaleFactors extended_dynamic_ntk(const RotaryGeometry& geometry, const RopeScaling& scaling, double factor,
                                    std::int64_t length) {
  RotaryGeometry from_reached = geometry;
  from_reached.original_length = scaling.reached_length;
  return on_top_of(scaling.own_factors(geometry, length),
                   exact_factors(dynamic_ntk_factors(from_reached, factor, length), /*n_hat=*/0, {}));
}

}  // namespace longrope
