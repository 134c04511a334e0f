#include "common/model_description.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>

#include "common/error.h"
#include "common/read_file.h"
#include "common/sha256.h"
#include "common/strict_json.h"

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
constexpr double kMaxRopeTheta = 1e12;
constexpr double kMaxEpsilon = 1e-2;
// Hugging Face LlamaConfig's values of keys that config.json may leave out.
constexpr double kDefaultRopeTheta = 10000.0;
constexpr double kDefaultEpsilon = 1e-6;
constexpr std::string_view kDefaultActivation = "silu";
constexpr std::string_view kDefaultRopeType = "default";

constexpr std::array<std::string_view, 1> kArchitectures = {"LlamaForCausalLM"};
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

  [[nodiscard]] std::optional<ConfigObject> optional_object(const char* key) const {
    const nlohmann::json* const value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_object()) refuse(key, "an object", *value);
    return ConfigObject(*value, fmt::format("{} in {}", key, place_));
  }

 private:
  const nlohmann::json& object_;
  std::string place_;
};

std::string supported_architecture(const ConfigObject& config) {
  const nlohmann::json* const value = config.find("architectures");
  const std::string rule = fmt::format("one of [{}]", fmt::join(kArchitectures, ", "));
  if (value == nullptr) config.refuse("architectures", rule, nullptr);
  if (!value->is_array() || value->size() != 1 || !value->front().is_string()) {
    config.refuse("architectures", rule, *value);
  }
  const auto& name = value->front().get_ref<const std::string&>();
  if (std::ranges::find(kArchitectures, name) == kArchitectures.end()) config.refuse("architectures", rule, name);
  return name;
}

/// What the forward pass does not do is refused here, by name, so that no number is ever silently wrong.
void require_plain_llama(const ConfigObject& config) {
  for (const char* const key : {"attention_bias", "mlp_bias"}) {
    if (config.boolean(key, false)) config.refuse(key, "false (biases are not supported)", true);
  }
  if (const auto activation = config.optional_string("hidden_act"); activation && *activation != kDefaultActivation) {
    config.refuse("hidden_act", "silu", *activation);
  }
  if (const nlohmann::json* const value = config.find("quantization_config")) {
    config.refuse("quantization_config", "absent (quantized weights are not supported)", *value);
  }
  if (const auto partial = config.optional_number("partial_rotary_factor", 0.0, 1.0); partial && *partial != 1.0) {
    config.refuse("partial_rotary_factor", "1 for this architecture", *partial);
  }
}

/// Accepts only unscaled RoPE: the factors of a search replace the angles, so a scaled base must not be lost silently.
void require_unscaled(const ConfigObject& rope) {
  for (const char* const key : {"rope_type", "type"}) {
    const auto type = rope.optional_string(key);
    if (type && *type != kDefaultRopeType) {
      rope.refuse(key, "default (a model with scaled RoPE is not supported)", *type);
    }
  }
  if (const auto partial = rope.optional_number("partial_rotary_factor", 0.0, 1.0); partial && *partial != 1.0) {
    rope.refuse("partial_rotary_factor", "1 for this architecture", *partial);
  }
}

double rope_theta(const ConfigObject& config) {
  std::optional<double> theta = config.optional_number("rope_theta", 1.0, kMaxRopeTheta);
  if (const auto scaling = config.optional_object("rope_scaling")) require_unscaled(*scaling);  // transformers 4
  if (const auto parameters = config.optional_object("rope_parameters")) {                      // transformers 5
    require_unscaled(*parameters);
    const auto nested = parameters->optional_number("rope_theta", 1.0, kMaxRopeTheta);
    if (theta && nested && *theta != *nested) {
      parameters->refuse("rope_theta", fmt::format("the same as at top level, {}", *theta), *nested);
    }
    if (nested) theta = nested;
  }
  return theta.value_or(kDefaultRopeTheta);
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

ModelDescription describe_model(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "config.json";
  const nlohmann::json json = parse_strict_json(read_file(file, kMaxConfigBytes), file.native());
  if (!json.is_object())
    throw InputError(fmt::format("config must be an object: {} ({})", json.type_name(), file.native()));
  const ConfigObject config(json, file.native());

  ModelDescription model;
  model.directory = directory;
  // canonical, because "models/x/" and "." have no file name
  model.name = std::filesystem::canonical(directory).filename().native();
  model.architecture = supported_architecture(config);
  require_plain_llama(config);
  model.vocabulary = config.integer("vocab_size", kMaxVocabulary);
  model.hidden_size = config.integer("hidden_size", kMaxWidth);
  model.intermediate_size = config.integer("intermediate_size", kMaxWidth);
  model.layers = config.integer("num_hidden_layers", kMaxLayers);
  model.query_heads = config.integer("num_attention_heads", kMaxHeads);
  model.key_value_heads = config.optional_integer("num_key_value_heads", 1, kMaxHeads).value_or(model.query_heads);
  if (model.query_heads % model.key_value_heads != 0) {
    config.refuse("num_key_value_heads", fmt::format("a divisor of num_attention_heads, {}", model.query_heads),
                  model.key_value_heads);
  }
  const auto head_dim = config.optional_integer("head_dim", 2, kMaxHeadDim);
  if (!head_dim && model.hidden_size % model.query_heads != 0) {
    config.refuse("hidden_size",
                  fmt::format("a multiple of num_attention_heads, {}, without head_dim", model.query_heads),
                  model.hidden_size);
  }
  model.head_dim = head_dim.value_or(model.hidden_size / model.query_heads);
  if (model.head_dim % 2 != 0 || model.head_dim > kMaxHeadDim) {
    config.refuse("head_dim", fmt::format("even and at most {}", kMaxHeadDim), model.head_dim);
  }
  model.rms_norm_epsilon = config.optional_number("rms_norm_eps", 0.0, kMaxEpsilon).value_or(kDefaultEpsilon);
  model.tied_embeddings = config.boolean("tie_word_embeddings", false);
  model.bos_token = config.optional_integer("bos_token_id", 0, model.vocabulary - 1);
  model.geometry.rotary_dim = model.head_dim;
  model.geometry.rope_theta = rope_theta(config);
  const std::int64_t positions = config.integer("max_position_embeddings", kMaxPositions);
  model.geometry.original_length =
      config.optional_integer("original_max_position_embeddings", 1, kMaxPositions).value_or(positions);
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

std::string model_digest(const std::filesystem::path& directory) {
  Sha256 hash;
  hash.field("config.json").field(sha256_of_file(directory / "config.json"));
  for (const std::filesystem::path& file : weight_files(directory)) {
    hash.field(file.lexically_relative(directory).native()).field(sha256_of_file(file));
  }
  return hash.hex();
}

}  // namespace longrope
