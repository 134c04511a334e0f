#include "common/model/model_description.h"

#include "common/error.h"
#include "common/files/read_file.h"
#include "common/files/strict_json.h"
#include "common/model/architecture.h"
#include "common/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>
#include <system_error>

namespace longrope {
namespace {

constexpr std::size_t kMaxConfigBytes = 16U << 20U;
constexpr std::size_t kMaxIndexBytes = 64U << 20U;
constexpr std::size_t kMaxShownBytes = 80;
// Far above any published model; they keep every product of two of them within 64 bits.
constexpr std::int64_t kMaxVocabulary = std::int64_t{1} << 24;
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 20;
constexpr std::int64_t kMaxLayers = 1024;
constexpr std::int64_t kMaxHeads = 1024;
constexpr std::int64_t kMaxHeadDim = 1024;
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 31;
constexpr double kMaxEpsilon = 1e-2;
constexpr std::string_view kActivation = "silu";  // Hugging Face's default too

constexpr std::array<std::string_view, 3> kWeightDtypes = {"bfloat16", "float16", "float32"};

/// One object of config.json with the place its errors name. Keys that are null count as absent, as for Hugging Face.
class ConfigObject {
 public:
  ConfigObject(const nlohmann::json& object, std::string place) : object_(object), place_(std::move(place)) {}

  [[noreturn]] void refuse(std::string_view key, std::string_view rule, const nlohmann::json& value) const {
    std::string shown = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (shown.size() > kMaxShownBytes) shown = shown.substr(0, kMaxShownBytes) + "…";
    throw InputError(fmt::format("{} must be {}: {} ({})", key, rule, shown, place_));
  }

  [[nodiscard]] const nlohmann::json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  /// Given and null: for the few keys where that means none and absence means a default.
  [[nodiscard]] bool is_null(const char* key) const {
    const auto found = object_.find(key);
    return found != object_.end() && found->is_null();
  }

  [[nodiscard]] std::optional<std::int64_t> optional_integer(const char* key, std::int64_t low,
                                                             std::int64_t high) const {
    const nlohmann::json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    // Unsigned is any non-negative JSON integer: no key here may be negative.
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() < static_cast<std::uint64_t>(low) ||
        value->get<std::uint64_t>() > static_cast<std::uint64_t>(high)) {
      refuse(key, fmt::format("an integer from {} to {}", low, high), *value);
    }
    return value->get<std::int64_t>();
  }

  [[nodiscard]] std::int64_t integer(const char* key, std::int64_t high) const {
    const auto value = optional_integer(key, 1, high);
    if (!value) throw InputError(fmt::format("{} must be given ({})", key, place_));
    return *value;
  }

  [[nodiscard]] std::optional<double> optional_number(const char* key, double above, double high) const {
    const nlohmann::json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    const double number = value->is_number() ? value->get<double>() : std::nan("");
    if (!(number > above && number <= high)) {
      refuse(key, fmt::format("a number above {} and at most {}", above, high), *value);
    }
    return number;
  }

  [[nodiscard]] bool boolean(const char* key, bool absent) const {
    const nlohmann::json* const value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) refuse(key, "true or false", *value);
    return value->get<bool>();
  }

  [[nodiscard]] std::optional<std::string> optional_string(const char* key) const {
    const nlohmann::json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) refuse(key, "a string", *value);
    return value->get<std::string>();
  }

 private:
  const nlohmann::json& object_;
  std::string place_;
};

const Architecture& supported_architecture(const ConfigObject& config) {
  const nlohmann::json* const value = config.find("architectures");
  std::vector<std::string_view> names;
  for (const Architecture& architecture : kArchitectures) names.push_back(architecture.name);
  const std::string rule = fmt::format("one of [{}]", fmt::join(names, ", "));
  if (value == nullptr) config.refuse("architectures", rule, nullptr);
  if (!value->is_array() || value->size() != 1 || !value->front().is_string()) {
    config.refuse("architectures", rule, *value);
  }
  const auto& name = value->front().get_ref<const std::string&>();
  const auto* const found = std::ranges::find(kArchitectures, name, &Architecture::name);
  if (found == kArchitectures.end()) config.refuse("architectures", rule, name);
  return *found;
}

/// What the forward pass does not do and no tensor's name or shape would give away is refused here, by name, so that no
/// number is ever silently wrong.
void require_plain_forward_pass(const ConfigObject& config) {
  for (const char* const key : {"quantization_config", "attn_logit_softcapping", "final_logit_softcapping",
                                "num_experts", "num_local_experts"}) {
    if (const nlohmann::json* const value = config.find(key)) config.refuse(key, "absent (not supported)", *value);
  }
  if (const auto activation = config.optional_string("hidden_act"); activation && *activation != kActivation) {
    config.refuse("hidden_act", kActivation, *activation);
  }
}

void read_biases(const ConfigObject& config, const Architecture& architecture, ModelDescription& model) {
  const auto refuse = [&](const char* key) {
    config.refuse(key, fmt::format("false for {}", architecture.name), true);
  };
  const bool attention = config.boolean("attention_bias", false);
  if (attention && architecture.attention_bias == AttentionBias::kNone) refuse("attention_bias");
  model.attention_output_bias = attention && architecture.attention_bias == AttentionBias::kConfigured;
  model.query_key_value_bias =
      model.attention_output_bias || architecture.attention_bias == AttentionBias::kQueryKeyValue;
  model.feed_forward_bias = config.boolean("mlp_bias", false);
  if (model.feed_forward_bias && !architecture.feed_forward_bias) refuse("mlp_bias");
}

/// [layers] whether layer_types gives the layer a sliding window; without the key, by `otherwise`.
template <typename Otherwise>
std::vector<bool> windowed_layers(const ConfigObject& config, std::int64_t layers, const Otherwise& otherwise) {
  std::vector<bool> windowed;
  const nlohmann::json* const types = config.find("layer_types");
  if (types == nullptr) {
    for (std::int64_t layer = 0; layer < layers; ++layer) windowed.push_back(otherwise(layer));
    return windowed;
  }
  if (!types->is_array() || static_cast<std::int64_t>(types->size()) != layers) {
    config.refuse("layer_types", fmt::format("an array of num_hidden_layers, {}, names", layers), *types);
  }
  for (const nlohmann::json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention") {
      config.refuse("layer_types", "full_attention or sliding_attention", type);
    }
    windowed.push_back(type == "sliding_attention");
  }
  return windowed;
}

std::vector<std::int64_t> sliding_windows(const ConfigObject& config, const Architecture& architecture,
                                          std::int64_t layers) {
  std::int64_t window = config.optional_integer("sliding_window", 1, kMaxPositions)
                            .value_or(config.is_null("sliding_window") ? 0 : architecture.default_sliding_window);
  std::vector<bool> windowed;
  if (architecture.windowed_layers == WindowedLayers::kByLayer) {
    if (!config.boolean("use_sliding_window", false)) window = 0;
    const std::int64_t first =
        config.optional_integer("max_window_layers", 0, kMaxPositions).value_or(kDefaultMaxWindowLayers);
    windowed = windowed_layers(config, layers, [&](std::int64_t layer) { return window > 0 && layer >= first; });
  } else {
    const bool all = architecture.windowed_layers == WindowedLayers::kAll && window > 0;
    windowed = windowed_layers(config, layers, [&](std::int64_t) { return all; });
    // These architectures give every layer the same; transformers would not read the difference.
    if (std::ranges::find(windowed, !all) != windowed.end()) {
      config.refuse("layer_types", fmt::format("the same for all layers of {}", architecture.name),
                    *config.find("layer_types"));
    }
    if (window > 0 && !all) {
      config.refuse("sliding_window", fmt::format("absent for {}", architecture.name), window);
    }
  }
  std::vector<std::int64_t> windows;
  for (const bool has_window : windowed) {
    if (has_window && window == 0) {
      config.refuse("layer_types", "without sliding_attention where there is no sliding window",
                    *config.find("layer_types"));
    }
    windows.push_back(has_window ? window : 0);
  }
  return windows;
}

void read_rope(const nlohmann::json& json, const ConfigObject& config, const std::string& place,
               const Architecture& architecture, ModelDescription& model) {
  RopeParameters rope = parse_rope_parameters(json, place, model.head_dim);
  if (rope.geometry.rotary_dim != model.head_dim && !architecture.partial_rotary) {
    config.refuse("partial_rotary_factor", fmt::format("1 for {}", architecture.name),
                  static_cast<double>(rope.geometry.rotary_dim) / static_cast<double>(model.head_dim));
  }
  if (architecture.longrope_only && rope.scaling.scaled() && rope.scaling.type != "longrope") {
    config.refuse("rope_type", fmt::format("default or longrope for {}", architecture.name), rope.scaling.type);
  }
  model.geometry = rope.geometry;
  model.scaling = std::move(rope.scaling);
}

std::string weights_dtype(const ConfigObject& config) {
  for (const char* const key : {"dtype", "torch_dtype"}) {  // transformers 5, transformers 4
    const auto dtype = config.optional_string(key);
    if (!dtype) continue;
    if (std::ranges::find(kWeightDtypes, *dtype) == kWeightDtypes.end()) {
      config.refuse(key, fmt::format("one of [{}]", fmt::join(kWeightDtypes, ", ")), *dtype);
    }
    return *dtype;
  }
  return "float32";  // Hugging Face's default
}

void require_inside_directory(const std::filesystem::path& shard, const std::string& place) {
  const bool leaves = shard.is_absolute() || std::ranges::any_of(shard, [](const std::filesystem::path& component) {
                        return component == ".." || component.empty();
                      });
  if (shard.empty() || leaves || shard.extension() != ".safetensors" ||
      shard.native().find('\0') != std::string::npos) {
    throw InputError(fmt::format("a shard must be a .safetensors file inside the model's directory: {} ({})",
                                 nlohmann::json(shard.native()).dump(), place));
  }
}

}  // namespace

const RescaleFactors& ModelDescription::own_factors(std::int64_t length) const {
  return scaling.own_factors(geometry, length);
}

std::int64_t ModelDescription::sliding_window() const {
  return sliding_windows.empty() ? 0 : *std::ranges::max_element(sliding_windows);
}

ModelDescription describe_model(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  const nlohmann::json json = parse_strict_json(read_file(file, kMaxConfigBytes), file.native());
  if (!json.is_object()) {
    throw InputError(fmt::format("config must be an object: {} ({})", json.type_name(), file.native()));
  }
  const ConfigObject config(json, file.native());

  ModelDescription model;
  model.directory = directory;
  // canonical, because "models/x/" and "." have no file name
  model.name = std::filesystem::canonical(directory).filename().native();
  const Architecture& architecture = supported_architecture(config);
  model.architecture = architecture.name;
  model.query_key_norm = architecture.query_key_norm;
  model.fused_projections = architecture.fused_projections;
  require_plain_forward_pass(config);
  read_biases(config, architecture, model);
  model.vocabulary = config.integer("vocab_size", kMaxVocabulary);
  model.hidden_size = config.integer("hidden_size", kMaxWidth);
  model.intermediate_size = config.integer("intermediate_size", kMaxWidth);
  model.layers = config.integer("num_hidden_layers", kMaxLayers);
  model.query_heads = config.integer("num_attention_heads", kMaxHeads);
  const bool own_key_value_heads = config.is_null("num_key_value_heads") || architecture.default_key_value_heads == 0;
  model.key_value_heads = config.optional_integer("num_key_value_heads", 1, kMaxHeads)
                              .value_or(own_key_value_heads ? model.query_heads : architecture.default_key_value_heads);
  if (model.query_heads % model.key_value_heads != 0) {
    config.refuse("num_key_value_heads", fmt::format("a divisor of num_attention_heads, {}", model.query_heads),
                  model.key_value_heads);
  }
  auto head_dim = config.optional_integer("head_dim", 2, kMaxHeadDim);
  if (!head_dim && architecture.default_head_dim > 0) head_dim = architecture.default_head_dim;
  if (!head_dim && model.hidden_size % model.query_heads != 0) {
    config.refuse("hidden_size",
                  fmt::format("a multiple of num_attention_heads, {}, without head_dim", model.query_heads),
                  model.hidden_size);
  }
  model.head_dim = head_dim.value_or(model.hidden_size / model.query_heads);
  if (model.head_dim % 2 != 0 || model.head_dim > kMaxHeadDim) {
    config.refuse("head_dim", fmt::format("even and at most {}", kMaxHeadDim), model.head_dim);
  }
  model.rms_norm_epsilon =
      config.optional_number("rms_norm_eps", 0.0, kMaxEpsilon).value_or(architecture.default_epsilon);
  model.tied_embeddings = config.boolean("tie_word_embeddings", false);
  model.bos_token = config.optional_integer("bos_token_id", 0, model.vocabulary - 1);
  model.sliding_windows = sliding_windows(config, architecture, model.layers);
  read_rope(json, config, file.native(), architecture, model);
  model.weights_dtype = weights_dtype(config);
  return model;
}

std::vector<std::filesystem::path> weight_files(const std::filesystem::path& directory) {
  const auto require_shard = [](const std::filesystem::path& path) {
    std::error_code error;
    // Follows symbolic links: the Hugging Face cache links its files to ../../blobs.
    if (!std::filesystem::is_regular_file(path, error)) {
      throw InputError(fmt::format("a weight file must exist: {}", path.native()));
    }
  };
  const std::filesystem::path single = directory / "model.safetensors";
  const std::filesystem::path index = directory / "model.safetensors.index.json";
  if (std::filesystem::exists(single) || !std::filesystem::exists(index)) {
    require_shard(single);
    return {single};
  }
  const nlohmann::json json = parse_strict_json(read_file(index, kMaxIndexBytes), index.native());
  const auto weight_map = json.is_object() ? json.find("weight_map") : json.end();
  if (weight_map == json.end() || !weight_map->is_object() || weight_map->empty()) {
    throw InputError(fmt::format("weight_map must be an object naming a shard for each tensor ({})", index.native()));
  }
  std::set<std::filesystem::path> shards;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string()) {
      throw InputError(fmt::format("a shard must be a string: {} ({})", shard.type_name(), index.native()));
    }
    const std::filesystem::path name = shard.get<std::string>();
    require_inside_directory(name, index.native());
    if (shards.insert(directory / name).second) require_shard(directory / name);
  }
  return {shards.begin(), shards.end()};
}

std::string model_digest(const std::filesystem::path& directory, const FileDigest& file_digest) {
  Sha256 hash;
  hash.field("config.json").field(file_digest(directory / "config.json"));
  for (const std::filesystem::path& file : weight_files(directory)) {
    hash.field(file.lexically_relative(directory).native()).field(file_digest(file));
  }
  return hash.hex();
}

std::string model_digest(const std::filesystem::path& directory) { return model_digest(directory, sha256_of_file); }

IdentifiedModel identify_model(const std::filesystem::path& directory) {
  return {describe_model(directory), model_digest(directory)};
}

}  // namespace longrope
