#include "common/model/rope_scaling.h"

#include "common/error.h"
#include "common/files/json_object.h"
#include "common/model/head_dim.h"
#include "common/model/rope_keys.h"

#include <fmt/format.h>

#include <algorithm>
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
constexpr double kDefaultRopeTheta = 10000.0;  // every architecture's in transformers
constexpr double kMaxFactor = 1e6;
constexpr double kMaxAttentionFactor = 1e3;
constexpr std::string_view kVersion4 = "rope_scaling";     // key of config.json in transformers 4
constexpr std::string_view kVersion5 = "rope_parameters";  // key of config.json in transformers 5
constexpr std::string_view kMaximum = "max_position_embeddings";
constexpr std::string_view kOriginal = "original_max_position_embeddings";
constexpr std::string_view kPartialRotary = "partial_rotary_factor";

/// rope_scaling or rope_parameters, if there is one.
std::optional<JsonObject> rope_of(const JsonObject& config) {
  const bool version_4 = config.has(kVersion4);
  const bool version_5 = config.has(kVersion5);
  if (version_4 && version_5) {
    throw InputError(fmt::format("config must have {} or {}: both ({})", kVersion4, kVersion5, config.where()));
  }
  if (version_4) return config.object(kVersion4);
  if (version_5) return config.object(kVersion5);
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

std::string_view type_key(const JsonObject& rope) { return rope.has("rope_type") ? "rope_type" : "type"; }

std::string type_of(const std::optional<JsonObject>& rope) {
  if (!rope) return "default";
  const std::string_view key = type_key(*rope);
  // Without a type there is no scaling, as in Hugging Face; but parameters by layer have no type either, and would be
  // ignored.
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

/// The keys that mean the same for every type. What is absent stays absent, since only a part of a config may be read.
struct RopeKeys {
  JsonObject config;
  std::optional<JsonObject> rope;  // rope_scaling or rope_parameters
  std::string type;                // rope_type, with longrope for its old name su
  std::optional<double> rope_theta;
  std::optional<double> partial_rotary_factor;
  std::optional<std::int64_t> original_length;  // original_max_position_embeddings
  std::optional<std::int64_t> longest;          // max_position_embeddings

  RopeKeys(const nlohmann::json& document, const std::string& place)
      : config(document, place), rope(rope_of(config)), type(type_of(rope)) {
    rope_theta = at_top_or_inside(config, rope, "rope_theta", [](const JsonObject& object) {
      return object.number_above("rope_theta", 1.0, kMaxRopeTheta);
    });
    partial_rotary_factor = at_top_or_inside(config, rope, kPartialRotary, [](const JsonObject& object) {
      return object.number_above(kPartialRotary, 0.0, 1.0);
    });
    original_length = at_top_or_inside(config, rope, kOriginal, [](const JsonObject& object) {
      return object.integer(kOriginal, kShortest, kLongest);
    });
    longest = config.optional_integer(kMaximum, kShortest, kLongest);
    if (original_length_divides() && original_length && longest && *longest < *original_length) {
      config.refuse(kMaximum, fmt::format("must be at least {}, {}", kOriginal, *original_length));
    }
  }

  /// For these types max_position_embeddings is what the model was extended to, for others what it was trained at.
  [[nodiscard]] bool original_length_divides() const { return type == "llama3" || type == "longrope"; }

  [[nodiscard]] std::int64_t required_longest() const { return config.integer(kMaximum, kShortest, kLongest); }
  [[nodiscard]] std::int64_t required_original_length() const {
    if (!original_length) {
      throw InputError(fmt::format("{} must be given with rope type {}: absent ({})", kOriginal, type, config.where()));
    }
    return *original_length;
  }

  /// How many of the `head_dim` channels are rotated.
  [[nodiscard]] std::int64_t rotary_dim(std::int64_t head_dim) const {
    // Rounded down, as in transformers.
    const auto dim = static_cast<std::int64_t>(static_cast<double>(head_dim) * partial_rotary_factor.value_or(1.0));
    if (dim < 4 || dim % 2 != 0) {
      throw InputError(fmt::format("head_dim times partial_rotary_factor must be even and at least 4: {} ({})", dim,
                                   config.where()));
    }
    return dim;
  }
};

std::optional<AttentionFactor> given_attention(const JsonObject& rope) {
  const auto value = rope.optional_number_above("attention_factor", 0.0, kMaxAttentionFactor);
  return value ? std::optional(AttentionFactor{AttentionPolicy::kValue, *value}) : std::nullopt;
}

AttentionFactor yarn_attention(const JsonObject& rope, const RotaryGeometry& geometry, double factor) {
  if (const auto given = given_attention(rope)) return *given;
  const auto optional = [&](const char* key) {
    return rope.has(key) ? rope.number_between(key, 0.0, kMaxAttentionFactor) : 0.0;
  };
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
  options.beta_fast = rope.optional_number_above("beta_fast", 0.0, kMaxTurns).value_or(options.beta_fast);
  options.beta_slow = rope.optional_number_above("beta_slow", 0.0, kMaxTurns).value_or(options.beta_slow);
  options.truncate = rope.optional_boolean("truncate").value_or(options.truncate);
  return exact_factors(yarn_factors(geometry, factor, options), /*n_hat=*/0, yarn_attention(rope, geometry, factor));
}

RescaleFactors llama3_scaling(const JsonObject& rope, const RotaryGeometry& geometry, double factor) {
  const Llama3Options options = {.factor = factor,
                                 .low_freq_factor = rope.number_above("low_freq_factor", 0.0, kMaxFactor),
                                 .high_freq_factor = rope.number_above("high_freq_factor", 0.0, kMaxFactor)};
  return exact_factors(llama3_factors(geometry, options), /*n_hat=*/0, {});
}

double ratio_of_lengths(std::int64_t longest, std::int64_t original) {
  return static_cast<double>(longest) / static_cast<double>(original);
}

AttentionFactor longrope_attention(const RopeKeys& keys) {
  if (const auto given = given_attention(*keys.rope)) return *given;
  const std::int64_t original = keys.required_original_length();
  const double ratio = keys.rope->has("factor") ? keys.rope->number_between("factor", 1.0, kMaxFactor)
                                                : ratio_of_lengths(keys.required_longest(), original);
  return attention_factor(AttentionPolicy::kSu, ratio, original);
}

/// What transformers 4 and vLLM compute otherwise: they take the ratio of the lengths, whatever the factor says.
void warn_of_factor(const RopeKeys& keys, RopeParameters& parameters) {
  if (keys.rope->has("attention_factor") || !keys.rope->has("factor")) return;
  constexpr double kTolerance = 1e-6;  // relative; factors are written with few digits
  const double factor = keys.rope->number("factor");
  const std::int64_t original = keys.required_original_length();
  const double ratio = ratio_of_lengths(keys.required_longest(), original);
  if (std::abs(factor - ratio) <= kTolerance * ratio) return;
  parameters.warnings.push_back(fmt::format(
      "{} is {:g}, but max_position_embeddings / {} is {:g}: m is {:.6g} by the factor, as in transformers "
      "5; transformers 4 and vLLM take the ratio of the lengths and m = {:.6g}",
      keys.rope->where("factor"), factor, kOriginal, ratio, parameters.scaling.beyond_original.attention.value,
      attention_factor(AttentionPolicy::kSu, ratio, original).value));
}

/// `rotary_dim`: nullopt where it is not known, so that the number of λ cannot be checked.
LongropeTables longrope_tables(const RopeKeys& keys, std::optional<std::int64_t> rotary_dim) {
  const AttentionFactor attention = longrope_attention(keys);
  const auto table = [&](std::string_view key) {
    RescaleFactors factors = exact_factors(keys.rope->numbers(key), /*n_hat=*/0, attention);
    const std::size_t pairs = rotary_dim ? static_cast<std::size_t>(*rotary_dim / 2) : factors.lambda.size();
    validate(factors, pairs, keys.rope->where(key));
    return factors;
  };
  LongropeTables tables;
  if (keys.rope->has("short_factor")) tables.short_factors = table("short_factor");
  tables.long_factors = table("long_factor");
  tables.original_length = keys.original_length;
  return tables;
}

/// Scaling of the types whose tables follow from a factor.
RescaleFactors scaling_by_factor(const RopeKeys& keys, const RotaryGeometry& geometry, double factor) {
  if (keys.type == "linear") return exact_factors(pi_factors(geometry, factor), /*n_hat=*/0, {});
  if (keys.type == "yarn") return yarn_scaling(*keys.rope, geometry, factor);
  return llama3_scaling(*keys.rope, geometry, factor);
}

/// Takes what the user says, where config.json leaves open how far a model with linear or yarn scaling reaches, or says
/// what is assumed. Sets original and reached length.
void settle_lengths(const RopeKeys& keys, double factor, std::optional<std::int64_t> said, RopeParameters& parameters) {
  const std::int64_t longest = keys.required_longest();
  std::int64_t& reached = parameters.scaling.reached_length;
  reached = std::llround(factor * static_cast<double>(keys.original_length.value_or(longest)));
  if (keys.original_length || reached == longest) return;
  if (!said) {
    parameters.assumption = fmt::format(
        "the model is taken to reach {} tokens, {:g} times {}, because {} is not given; if {} is already the extended "
        "length, say --reached-length {}, or reached_length = {} under [model] of a configuration ({})",
        reached, factor, kMaximum, kOriginal, longest, longest, longest, keys.config.where());
    return;
  }
  if (*said < longest || *said > reached) {
    throw InputError(fmt::format("reached_length must lie between {}, {}, and {:g} times that, {}: {} ({})", kMaximum,
                                 longest, factor, reached, *said, keys.config.where()));
  }
  reached = *said;
  parameters.geometry.original_length =
      std::max(kShortest, static_cast<std::int64_t>(std::llround(static_cast<double>(reached) / factor)));
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

RopeParameters parse_rope_parameters(const nlohmann::json& document, const std::string& place, std::int64_t head_dim,
                                     std::optional<std::int64_t> reached_length) {
  const RopeKeys keys(document, place);
  RopeParameters parameters;
  RotaryGeometry& geometry = parameters.geometry;
  RopeScaling& scaling = parameters.scaling;
  scaling.type = keys.type;
  geometry.rotary_dim = keys.rotary_dim(head_dim);
  geometry.rope_theta = keys.rope_theta.value_or(kDefaultRopeTheta);
  const std::int64_t longest = keys.required_longest();
  geometry.original_length =
      keys.original_length_divides() ? keys.required_original_length() : keys.original_length.value_or(longest);
  scaling.reached_length = keys.original_length_divides() ? longest : geometry.original_length;
  if (scaling.type == "longrope") {
    LongropeTables tables = longrope_tables(keys, geometry.rotary_dim);
    if (!tables.short_factors) keys.rope->refuse("short_factor", "must be given");  // shown as absent
    scaling.up_to_original = *std::move(tables.short_factors);
    scaling.beyond_original = std::move(tables.long_factors);
  } else if (!scaling.scaled()) {
    scaling.up_to_original = exact_factors(std::vector<double>(geometry.pairs(), 1.0), /*n_hat=*/0, {});
    scaling.beyond_original = scaling.up_to_original;
  } else {
    const double factor = keys.rope->number_between("factor", 1.0, kMaxFactor);
    scaling.up_to_original = scaling_by_factor(keys, geometry, factor);
    scaling.beyond_original = scaling.up_to_original;
    if (!keys.original_length_divides()) settle_lengths(keys, factor, reached_length, parameters);
  }
  if (reached_length && *reached_length != scaling.reached_length) {
    throw InputError(
        fmt::format("reached_length must be what config.json says of a model with rope type {}, {}: {} ({})",
                    scaling.type, scaling.reached_length, *reached_length, place));
  }
  for (const RescaleFactors* const factors : {&scaling.up_to_original, &scaling.beyond_original}) {
    validate(*factors, geometry.pairs(), place);
  }
  if (keys.rope) {
    parameters.warnings = ignored_rope_keys(*keys.rope, scaling.type, scaling.beyond_original.attention.value);
    if (scaling.type == "longrope") warn_of_factor(keys, parameters);
  }
  return parameters;
}

LongropeTables parse_longrope_tables(const nlohmann::json& document, const std::string& place) {
  const RopeKeys keys(document, place);
  if (!keys.rope) throw InputError(fmt::format("config must have {} or {}: neither ({})", kVersion4, kVersion5, place));
  if (keys.type != "longrope") keys.rope->refuse(type_key(*keys.rope), "must be longrope or su");
  const std::optional<std::int64_t> head_dim = read_head_dim(keys.config);
  return longrope_tables(keys, head_dim ? std::optional(keys.rotary_dim(*head_dim)) : std::nullopt);
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
