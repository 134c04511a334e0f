#include "common/model/hugging_face_factors.h"

#include "common/error.h"
#include "common/files/json_object.h"
#include "common/rope/closed_form_factors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

namespace longrope {
namespace {

constexpr std::string_view kVersion4 = "rope_scaling";
constexpr std::string_view kVersion5 = "rope_parameters";

std::string_view rope_key(const JsonObject& config) {
  if (config.has(kVersion4) && config.has(kVersion5)) {
    throw InputError(fmt::format("config must have rope_scaling or rope_parameters: both ({})", config.where()));
  }
  return config.has(kVersion5) ? kVersion5 : kVersion4;
}

void require_longrope(const JsonObject& rope) {
  const std::string_view key = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.text(key);
  if (type != "longrope" && type != "su") rope.refuse(key, "must be longrope or su");
}

double positive(const JsonObject& object, std::string_view key) {
  const double value = object.number(key);
  if (value <= 0.0) object.refuse(key, "must be positive");
  return value;
}

constexpr std::int64_t kShortest = 2;  // the su rule divides by ln L0

/// At top level, where it wins, or in the rope parameters.
std::optional<std::int64_t> original_length(const JsonObject& config, const JsonObject& rope) {
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  for (const JsonObject* const object : {&config, &rope}) {
    if (object->has(kOriginal)) return object->integer(kOriginal, kShortest);
  }
  return std::nullopt;
}

AttentionFactor attention_of(const JsonObject& config, const JsonObject& rope, bool is_version_5) {
  constexpr std::string_view kMaximum = "max_position_embeddings";
  if (rope.has("attention_factor")) {
    return {.policy = AttentionPolicy::kValue, .value = positive(rope, "attention_factor")};
  }
  const std::optional<std::int64_t> named = original_length(config, rope);
  const std::int64_t original = named ? *named : config.integer(kMaximum, kShortest);
  const bool factor_decides = rope.has("factor") && (is_version_5 || !named);
  const double ratio = factor_decides
                           ? positive(rope, "factor")
                           : static_cast<double>(config.integer(kMaximum, kShortest)) / static_cast<double>(original);
  return attention_factor(AttentionPolicy::kSu, ratio, original);
}

std::optional<std::size_t> pairs_of(const JsonObject& config, const JsonObject& rope) {
  constexpr std::int64_t kLargestDim = 1 << 20;
  std::int64_t head_dim = 0;
  if (config.has("head_dim")) {
    head_dim = config.integer("head_dim", 1, kLargestDim);
  } else if (config.has("hidden_size") && config.has("num_attention_heads")) {
    head_dim = config.integer("hidden_size", 1, kLargestDim) / config.integer("num_attention_heads", 1, kLargestDim);
  } else {
    return std::nullopt;
  }
  constexpr std::string_view kPart = "partial_rotary_factor";
  double part = 1.0;
  if (rope.has(kPart) || config.has(kPart)) {
    const JsonObject& owner = rope.has(kPart) ? rope : config;
    part = positive(owner, kPart);
    if (part > 1.0) owner.refuse(kPart, "must be at most 1");
  }
  return static_cast<std::size_t>(static_cast<double>(head_dim) * part) / 2;
}

RescaleFactors parse_factors(const nlohmann::json& document, const std::string& place, std::string_view table) {
  const JsonObject config(document, place);
  const std::string_view key = rope_key(config);
  const JsonObject rope = config.object(key);
  require_longrope(rope);
  RescaleFactors factors =
      exact_factors(rope.numbers(table), /*n_hat=*/0, attention_of(config, rope, key == kVersion5));
  const std::size_t pairs = pairs_of(config, rope).value_or(factors.lambda.size());
  validate(factors, pairs, fmt::format("{}.{} ({})", key, table, place));
  return factors;
}

}  // namespace

RescaleFactors parse_hugging_face_factors(const nlohmann::json& config, const std::string& place) {
  return parse_factors(config, place, "long_factor");
}

RescaleFactors parse_hugging_face_short_factors(const nlohmann::json& config, const std::string& place) {
  return parse_factors(config, place, "short_factor");
}

std::optional<std::int64_t> parse_hugging_face_short_length(const nlohmann::json& document, const std::string& place) {
  const JsonObject config(document, place);
  const JsonObject rope = config.object(rope_key(config));
  return rope.has("short_factor") ? original_length(config, rope) : std::nullopt;
}

}  // namespace longrope
