#include "common/model/model_description.h"

#include "common/error.h"
#include "common/files/json_object.h"
#include "common/files/read_file.h"
#include "common/files/strict_json.h"
#include "common/model/architecture.h"
#include "common/model/expected_tensors.h"
#include "common/model/head_dim.h"
#include "common/model/model_directory.h"
#include "common/sha256.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <system_error>

namespace longrope {
namespace {

constexpr const char* kConfigFile = "config.json";
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::size_t kMaxConfigBytes = 16U << 20U;
constexpr std::size_t kMaxIndexBytes = 64U << 20U;
// Far above any published model, as the limits in head_dim.h.
constexpr std::int64_t kMaxVocabulary = std::int64_t{1} << 24;
constexpr std::int64_t kMaxLayers = 1024;
constexpr std::int64_t kMaxPositions = std::int64_t{1} << 31;
constexpr double kMaxEpsilon = 1e-2;
constexpr std::string_view kActivation = "silu";  // Hugging Face's default too

constexpr std::array<std::string_view, 3> kWeightDtypes = {"bfloat16", "float16", "float32"};

const Architecture& supported_architecture(const JsonObject& config) {
  std::vector<std::string_view> supported;
  for (const Architecture& architecture : kArchitectures) supported.push_back(architecture.name);
  const std::string rule = fmt::format("must be one of [{}]", fmt::join(supported, ", "));
  const std::vector<std::string> names = config.texts("architectures");
  if (names.size() != 1) config.refuse("architectures", rule);
  const auto* const found = std::ranges::find(kArchitectures, names.front(), &Architecture::name);
  if (found == kArchitectures.end()) config.refuse("architectures", rule, names.front());
  return *found;
}

/// What the forward pass does not do and no tensor's name or shape would give away is refused here, by name, so that no
/// number is ever silently wrong.
void require_plain_forward_pass(const JsonObject& config) {
  for (const char* const key : {"quantization_config", "attn_logit_softcapping", "final_logit_softcapping",
                                "num_experts", "num_local_experts"}) {
    if (config.has(key)) config.refuse(key, "must be absent (not supported)");
  }
  if (config.optional_text("hidden_act").value_or(std::string(kActivation)) != kActivation) {
    config.refuse("hidden_act", fmt::format("must be {}", kActivation));
  }
}

void read_biases(const JsonObject& config, const Architecture& architecture, ModelDescription& model) {
  const auto refuse = [&](const char* key) {
    config.refuse(key, fmt::format("must be false for {}", architecture.name));
  };
  const bool attention = config.optional_boolean("attention_bias").value_or(false);
  if (attention && architecture.attention_bias == AttentionBias::kNone) refuse("attention_bias");
  model.attention_output_bias = attention && architecture.attention_bias == AttentionBias::kConfigured;
  model.query_key_value_bias =
      model.attention_output_bias || architecture.attention_bias == AttentionBias::kQueryKeyValue;
  model.feed_forward_bias = config.optional_boolean("mlp_bias").value_or(false);
  if (model.feed_forward_bias && !architecture.feed_forward_bias) refuse("mlp_bias");
}

/// [layers] whether layer_types gives the layer a sliding window; without the key, by `otherwise`.
template <typename Otherwise>
std::vector<bool> windowed_layers(const JsonObject& config, std::int64_t layers, const Otherwise& otherwise) {
  std::vector<bool> windowed;
  if (!config.has("layer_types")) {
    for (std::int64_t layer = 0; layer < layers; ++layer) windowed.push_back(otherwise(layer));
    return windowed;
  }
  const std::vector<std::string> types = config.texts("layer_types");
  if (static_cast<std::int64_t>(types.size()) != layers) {
    config.refuse("layer_types", fmt::format("must be an array of num_hidden_layers, {}, names", layers));
  }
  for (const std::string& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      config.refuse(fmt::format("layer_types[{}]", windowed.size()), "must be full_attention or sliding_attention",
                    type);
    }
    windowed.push_back(type == "sliding_attention");
  }
  return windowed;
}

std::vector<std::int64_t> sliding_windows(const JsonObject& config, const Architecture& architecture,
                                          std::int64_t layers) {
  std::int64_t window = config.optional_integer("sliding_window", 1, kMaxPositions)
                            .value_or(config.is_null("sliding_window") ? 0 : architecture.default_sliding_window);
  std::vector<bool> windowed;
  if (architecture.windowed_layers == WindowedLayers::kByLayer) {
    if (!config.optional_boolean("use_sliding_window").value_or(false)) window = 0;
    const std::int64_t first =
        config.optional_integer("max_window_layers", 0, kMaxPositions).value_or(kDefaultMaxWindowLayers);
    windowed = windowed_layers(config, layers, [&](std::int64_t layer) { return window > 0 && layer >= first; });
  } else {
    const bool all = architecture.windowed_layers == WindowedLayers::kAll && window > 0;
    windowed = windowed_layers(config, layers, [&](std::int64_t) { return all; });
    // These architectures give every layer the same; transformers would not read the difference.
    if (std::ranges::find(windowed, !all) != windowed.end()) {
      config.refuse("layer_types", fmt::format("must be the same for all layers of {}", architecture.name));
    }
    if (window > 0 && !all) {
      config.refuse("sliding_window", fmt::format("must be absent for {}", architecture.name), window);
    }
  }
  std::vector<std::int64_t> windows;
  for (const bool has_window : windowed) {
    if (has_window && window == 0) {
      config.refuse("layer_types", "must be without sliding_attention where there is no sliding window");
    }
    windows.push_back(has_window ? window : 0);
  }
  return windows;
}

void read_rope(const nlohmann::json& json, const JsonObject& config, const Architecture& architecture,
               std::optional<std::int64_t> reached_length, ModelDescription& model) {
  RopeParameters rope = parse_rope_parameters(json, config.where(), model.head_dim, reached_length);
  if (rope.geometry.rotary_dim != model.head_dim && !architecture.partial_rotary) {
    config.refuse("partial_rotary_factor", fmt::format("must be 1 for {}", architecture.name),
                  static_cast<double>(rope.geometry.rotary_dim) / static_cast<double>(model.head_dim));
  }
  if (architecture.longrope_only && rope.scaling.scaled() && rope.scaling.type != "longrope") {
    config.refuse("rope_type", fmt::format("must be default or longrope for {}", architecture.name), rope.scaling.type);
  }
  model.geometry = rope.geometry;
  model.scaling = std::move(rope.scaling);
  model.warnings.insert(model.warnings.end(), rope.warnings.begin(), rope.warnings.end());
  model.assumption = std::move(rope.assumption);
  constexpr const char* kDualChunk = "dual_chunk_attention_config";
  if (config.has(kDualChunk)) {
    model.warnings.push_back(fmt::format(
        "{} is ignored, as in transformers and llama.cpp: every query sees the whole document; vLLM computes "
        "dual chunk attention, without rope scaling",
        config.where(kDualChunk)));
  }
}

std::string weights_dtype(const JsonObject& config) {
  for (const char* const key : {"dtype", "torch_dtype"}) {  // transformers 5, transformers 4
    const auto dtype = config.optional_text(key);
    if (!dtype) continue;
    if (std::ranges::find(kWeightDtypes, *dtype) == kWeightDtypes.end()) {
      config.refuse(key, fmt::format("must be one of [{}]", fmt::join(kWeightDtypes, ", ")));
    }
    return *dtype;
  }
  return "float32";  // Hugging Face's default
}

/// As transformers 5 (tie_weights): values that differ are kept apart, whatever config.json says.
void read_tie(const JsonObject& config, ModelDescription& model) {
  model.tied_embeddings = config.optional_boolean("tie_word_embeddings").value_or(false);
  if (!model.tied_embeddings || !has_own_output_embedding(model.directory)) return;
  model.tied_embeddings = false;
  model.warnings.push_back(
      fmt::format("tie_word_embeddings is true, but the checkpoint has an lm_head that differs from its embedding: the "
                  "two are kept apart, as transformers 5 does; engines that follow the key, transformers 4 among them, "
                  "use the embedding until it is set to false ({})",
                  config.where()));
}

/// transformers with peft applies an adapter that it finds beside a model; without the model it is refused with the
/// weights.
void warn_of_adapter(ModelDescription& model) {
  const auto exists = [&](const char* name) { return std::filesystem::exists(model.directory / name); };
  if (!exists("adapter_config.json") || !(exists(kSingleFile) || exists(kIndexFile))) return;
  model.warnings.push_back(
      fmt::format("an adapter lies beside the model and is not applied, while transformers with peft applies it: merge "
                  "it into the weights, or move adapter_config.json away ({})",
                  model.directory.native()));
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

ModelDescription describe_model(const std::filesystem::path& directory, std::optional<std::int64_t> reached_length) {
  require_model_directory(directory);
  const std::filesystem::path file = directory / kConfigFile;
  const nlohmann::json json = parse_strict_json(read_file(file, kMaxConfigBytes), file.native());
  const JsonObject config(json, file.native());

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
  model.vocabulary = config.integer("vocab_size", 1, kMaxVocabulary);
  model.hidden_size = config.integer("hidden_size", 1, kMaxWidth);
  model.intermediate_size = config.integer("intermediate_size", 1, kMaxWidth);
  model.layers = config.integer("num_hidden_layers", 1, kMaxLayers);
  model.query_heads = config.integer("num_attention_heads", 1, kMaxHeads);
  const bool own_key_value_heads = config.is_null("num_key_value_heads") || architecture.default_key_value_heads == 0;
  model.key_value_heads = config.optional_integer("num_key_value_heads", 1, kMaxHeads)
                              .value_or(own_key_value_heads ? model.query_heads : architecture.default_key_value_heads);
  if (model.query_heads % model.key_value_heads != 0) {
    config.refuse("num_key_value_heads", fmt::format("must be a divisor of num_attention_heads, {}", model.query_heads),
                  model.key_value_heads);
  }
  model.head_dim = read_head_dim(config).value();  // the two keys that it falls back to were read above
  model.rms_norm_epsilon =
      config.optional_number_above("rms_norm_eps", 0.0, kMaxEpsilon).value_or(architecture.default_epsilon);
  read_tie(config, model);
  warn_of_adapter(model);
  model.bos_token = config.optional_integer("bos_token_id", 0, model.vocabulary - 1);
  model.sliding_windows = sliding_windows(config, architecture, model.layers);
  read_rope(json, config, architecture, reached_length, model);
  model.weights_dtype = weights_dtype(config);
  return model;
}

std::vector<std::filesystem::path> weight_files(const std::filesystem::path& directory) {
  const auto is_file = [](const std::filesystem::path& path) {
    std::error_code error;
    // Follows symbolic links: the Hugging Face cache links its files to ../../blobs.
    return std::filesystem::is_regular_file(path, error);
  };
  const std::filesystem::path single = directory / kSingleFile;
  const std::filesystem::path index = directory / kIndexFile;
  if (std::filesystem::exists(single) || !std::filesystem::exists(index)) {
    if (!is_file(single)) refuse_missing_weights(directory, single);
    return {single};
  }
  const nlohmann::json json = parse_strict_json(read_file(index, kMaxIndexBytes), index.native());
  const JsonObject weight_map = JsonObject(json, index.native()).object("weight_map");
  std::set<std::filesystem::path> shards;
  for (const std::string& tensor : weight_map.keys()) {
    const std::filesystem::path name = weight_map.text(tensor);
    require_inside_directory(name, index.native());
    if (shards.insert(directory / name).second && !is_file(directory / name)) {
      throw InputError(fmt::format("a weight file must exist: {} (named by {})", (directory / name).native(),
                                   index.filename().native()));
    }
  }
  if (shards.empty()) throw InputError(fmt::format("weight_map must name a shard: it is empty ({})", index.native()));
  return {shards.begin(), shards.end()};
}

std::string model_digest(const std::filesystem::path& directory, const FileDigest& file_digest) {
  Sha256 hash;
  const std::filesystem::path config = directory / kConfigFile;
  hash.field(kConfigFile).field(file_digest(config));
  for (const std::filesystem::path& file : weight_files(directory)) {
    hash.field(file.lexically_relative(directory).native()).field(file_digest(file));
  }
  // Until lm_heads were kept apart such a model was scored with its embedding: those scores belong to another model.
  const nlohmann::json json =
      nlohmann::json::parse(read_file(config, kMaxConfigBytes), nullptr, /*allow_exceptions=*/false);
  const bool says_tied = json.is_object() && json.value("tie_word_embeddings", nlohmann::json()) == true;
  if (says_tied && has_own_output_embedding(directory)) hash.field("lm_head of its own");
  return hash.hex();
}

std::string model_digest(const std::filesystem::path& directory) { return model_digest(directory, sha256_of_file); }

IdentifiedModel identify_model(const std::filesystem::path& directory, std::optional<std::int64_t> reached_length) {
  return {describe_model(directory, reached_length), sha256_of_file};
}

}  // namespace longrope
