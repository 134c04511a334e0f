#include "common/formats/hugging_face_export.h"

#include "common/error.h"
#include "common/files/read_file.h"
#include "common/files/strict_json.h"
#include "common/files/write_file.h"
#include "common/files/write_folder.h"
#include "common/formats/factors_file.h"
#include "common/formats/plain_block.h"
#include "common/model/model_description.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace longrope {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;  // keeps the order of the model's own keys

constexpr const char* kConfigFile = "config.json";
constexpr const char* kFactorsFile = "longrope_factors.json";
constexpr const char* kOriginalLength = "original_max_position_embeddings";
constexpr std::size_t kMaxConfigBytes = 16U << 20U;

OrderedJson read_config(const fs::path& file) {
  const std::string text = read_file(file, kMaxConfigBytes);
  static_cast<void>(
      parse_strict_json(text, file.native()));  // duplicate keys and depth; the next parse keeps the order
  return OrderedJson::parse(text);
}

/// The tables of the exported model.
struct RopeTables {
  const std::vector<double>& short_lambda;  // up to `original_length`
  std::int64_t original_length;
  const RescaleFactors& factors;  // beyond it
  std::int64_t target_length;
  std::optional<AttentionFactor> short_mscale;  // m up to `original_length`, for engines that read one for each table

  [[nodiscard]] double ratio() const {
    return static_cast<double>(target_length) / static_cast<double>(original_length);
  }
};

/// Transformers 4 demands exactly three keys of a Phi-3 and computes the attention factor itself.
OrderedJson phi3_rope_scaling(const RopeTables& tables) {
  constexpr double kTolerance = 1e-12;
  const double computed = attention_factor(AttentionPolicy::kSu, tables.ratio(), tables.original_length).value;
  const double wanted = tables.factors.attention.value;
  if (std::abs(wanted - computed) > kTolerance) {
    throw InputError(
        fmt::format("attention factor must be su, {}, for a Phi3ForCausalLM of transformers 4, which computes it and "
                    "reads no other: {}; export for transformers 5",
                    computed, wanted));
  }
  return {{"type", "longrope"}, {"short_factor", tables.short_lambda}, {"long_factor", tables.factors.lambda}};
}

/// config.json of the model. Where its lm_head is not the embedding although config.json says so, the copy says what
/// the weights are: transformers 4 and other engines follow the key.
OrderedJson config_of(const ModelDescription& model) {
  OrderedJson config = read_config(model.directory / kConfigFile);
  const auto tied = config.find("tie_word_embeddings");
  if (tied != config.end() && *tied == true && !model.tied_embeddings) *tied = false;
  return config;
}

/// The model was scored without its sliding windows; transformers must not apply them either.
void disable_sliding_window(OrderedJson& config, const ModelDescription& model) {
  if (model.sliding_window() == 0) return;
  config["sliding_window"] = nullptr;  // absent would be a default of thousands of tokens
  if (const auto types = config.find("layer_types"); types != config.end()) {
    *types = std::vector<std::string>(static_cast<std::size_t>(model.layers), "full_attention");
  }
  if (config.contains("use_sliding_window")) config["use_sliding_window"] = false;
}

/// Removes the rope parameters. Returns the partial_rotary_factor, wherever it stood.
std::optional<double> take_rope_parameters(OrderedJson& config) {
  constexpr const char* kPart = "partial_rotary_factor";
  std::optional<double> part;
  for (const char* const key : {"rope_scaling", "rope_parameters"}) {
    const auto rope = config.find(key);
    if (rope != config.end() && rope->is_object() && rope->contains(kPart) && rope->at(kPart).is_number()) {
      part = rope->at(kPart).get<double>();
    }
    config.erase(key);
  }
  config.erase("rope_theta");
  if (config.contains(kPart) && config.at(kPart).is_number()) part = config.at(kPart).get<double>();
  return part;
}

void patch_config(OrderedJson& config, const RopeTables& tables, const ModelDescription& model,
                  HuggingFaceTarget target) {
  OrderedJson rope = {
      {"rope_type", "longrope"},
      {"short_factor", tables.short_lambda},
      {"long_factor", tables.factors.lambda},
      {"factor", tables.ratio()},
      {"attention_factor", tables.factors.attention.value},
      {"original_max_position_embeddings", tables.original_length},
  };
  if (tables.short_mscale) {
    rope["short_mscale"] = tables.short_mscale->value;
    rope["long_mscale"] = tables.factors.attention.value;
  }
  const std::optional<double> partial_rotary_factor = take_rope_parameters(config);
  disable_sliding_window(config, model);
  config["max_position_embeddings"] = tables.target_length;
  // It stands in both places: version 4 reads it here, version 5 (which also reads rope_scaling) inside; this one wins
  // if they differ.
  config["original_max_position_embeddings"] = tables.original_length;
  if (target == HuggingFaceTarget::k4) {
    const bool is_phi3 = model.architecture == "Phi3ForCausalLM";
    config["rope_theta"] = model.geometry.rope_theta;
    if (partial_rotary_factor) config["partial_rotary_factor"] = *partial_rotary_factor;
    config["rope_scaling"] = is_phi3 ? phi3_rope_scaling(tables) : std::move(rope);
  } else {
    rope["rope_theta"] = model.geometry.rope_theta;
    if (partial_rotary_factor) rope["partial_rotary_factor"] = *partial_rotary_factor;
    config["rope_parameters"] = std::move(rope);
  }
}

/// The same for a plain block in place of tables.
void patch_config(OrderedJson& config, const PlainBlock& block, std::int64_t target_length,
                  const ModelDescription& model, HuggingFaceTarget target) {
  const std::optional<double> partial_rotary_factor = take_rope_parameters(config);
  disable_sliding_window(config, model);
  config["max_position_embeddings"] = target_length;
  // Without scaling it says nothing that max_position_embeddings does not say, but must not stay another one.
  if (!block.scaling.is_null() || config.contains(kOriginalLength)) config[kOriginalLength] = block.original_length;
  if (target == HuggingFaceTarget::k4) {
    config["rope_theta"] = block.rope_theta;
    if (partial_rotary_factor) config["partial_rotary_factor"] = *partial_rotary_factor;
    if (!block.scaling.is_null()) config["rope_scaling"] = block.scaling;
  } else {
    OrderedJson rope = block.scaling.is_null() ? OrderedJson{{"rope_type", "default"}} : block.scaling;
    rope["rope_theta"] = block.rope_theta;
    if (partial_rotary_factor) rope["partial_rotary_factor"] = *partial_rotary_factor;
    config["rope_parameters"] = std::move(rope);
  }
}

/// Whether the file holds weights, for any engine, or lists the shards of weights.
bool holds_weights(const fs::path& file) {
  constexpr std::array<std::string_view, 7> kExtensions = {".safetensors", ".bin", ".pt",     ".pth",
                                                           ".gguf",        ".h5",  ".msgpack"};
  return std::ranges::find(kExtensions, file.extension().native()) != kExtensions.end() ||
         file.native().ends_with(".index.json");
}

void link_other_files(const fs::path& model_directory, bool with_weights, const fs::path& out) {
  for (const fs::directory_entry& entry : fs::directory_iterator(model_directory)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name.starts_with('.') || name == kConfigFile || name == kFactorsFile) continue;
    if (!with_weights && holds_weights(name)) continue;
    link_or_copy(entry.path(), out / name);
  }
}

void write_canonical_factors(const fs::path& file, const ModelDescription& model, const std::string& digest,
                             const EngineTables& tables) {
  FactorsFile canonical;
  canonical.model = factors_model(model, digest);
  const auto add = [&](const RescaleFactors& factors, std::int64_t length) {
    FactorsFile::Entry& entry = canonical.entries.emplace_back();
    entry.id = fmt::format("longrope-{}", length);
    entry.target_length = length;
    entry.factors = factors;
    // Without a short table it is not known which factors hold up to the original length, so there is no schedule.
    if (tables.short_table) canonical.schedule.push_back({.max_length = length, .factors_id = entry.id});
  };
  if (tables.short_table) add(tables.short_table->factors, tables.short_table->max_length);
  add(tables.factors, tables.target_length);
  write_factors_json(canonical, file);
}

/// vLLM and SGLang read short_mscale and long_mscale in place of attention_factor.
bool has_attention_factor_for_each_table(const EngineTables& tables) {
  return tables.engine == Engine::kVllm || tables.engine == Engine::kSglang;
}

/// config.json of the model with searched tables in place of its own.
OrderedJson searched_config(const ModelDescription& model, const EngineTables& tables, HuggingFaceTarget target) {
  require_expressible(tables, model);
  OrderedJson config = config_of(model);
  if (tables.plain) {
    patch_config(config, plain_block(*tables.plain, tables.target_length, tables.engine), tables.target_length, model,
                 target);
    return config;
  }
  const bool has_short = tables.short_table.has_value();
  // Without a short table the model is as it was before the search, up to the length that it reached then.
  const std::vector<double>& short_lambda =
      has_short ? tables.short_table->factors.lambda : model.scaling.beyond_original.lambda;
  const std::int64_t short_length = has_short ? tables.short_table->max_length : model.scaling.reached_length;
  std::optional<AttentionFactor> short_mscale;
  if (has_attention_factor_for_each_table(tables)) {
    short_mscale = has_short ? tables.short_table->factors.attention : tables.factors.attention;
  }
  patch_config(config, {short_lambda, short_length, tables.factors, tables.target_length, short_mscale}, model, target);
  return config;
}

/// config.json of a model that was trained with its factors.
OrderedJson fine_tuned_config(const FineTunedModel& fine_tuned, const ModelDescription& model) {
  OrderedJson config = config_of(model);
  if (!fine_tuned.factors) return config;
  const RescaleFactors& factors = *fine_tuned.factors;
  require_expressible(factors, model);
  if (fine_tuned.target_length < model.scaling.reached_length) {
    throw InputError(fmt::format("target length must be at least the {} tokens that the model reaches: {}",
                                 model.scaling.reached_length, fine_tuned.target_length));
  }
  const std::vector<double>& short_lambda =
      fine_tuned.mixed_windows ? model.scaling.up_to_original.lambda : factors.lambda;
  patch_config(config, {short_lambda, model.geometry.original_length, factors, fine_tuned.target_length, std::nullopt},
               model, fine_tuned.target);
  return config;
}

}  // namespace

HuggingFaceTarget parse_hugging_face_target(std::string_view name) {
  if (name == "hf5") return HuggingFaceTarget::k5;
  if (name == "hf4") return HuggingFaceTarget::k4;
  throw InputError(fmt::format("target must be hf5 or hf4: {}", name));
}

void export_hugging_face(const ModelDescription& model, const EngineTables& tables, const fs::path& out,
                         HuggingFaceTarget target) {
  const OrderedJson config = searched_config(model, tables, target);
  if (!has_attention_factor_for_each_table(tables)) require_one_attention_factor(tables);
  write_folder_atomically(out, [&](const fs::path& folder) {
    link_other_files(model.directory, /*with_weights=*/true, folder);
    write_file_atomically(folder / kConfigFile, config.dump(2) + "\n");
    write_canonical_factors(folder / kFactorsFile, model, model_digest(model.directory), tables);
  });
}

void export_hugging_face(const ModelDescription& model, const RescaleFactors& factors, std::int64_t target_length,
                         const fs::path& out, HuggingFaceTarget target) {
  export_hugging_face(model, {.factors = factors, .target_length = target_length, .short_table = {}}, out, target);
}

OrderedJson config_overrides(const ModelDescription& model, const EngineTables& tables, HuggingFaceTarget target) {
  const OrderedJson untouched = read_config(model.directory / kConfigFile);
  const OrderedJson config = searched_config(model, tables, target);
  OrderedJson overrides = OrderedJson::object();
  const auto old = untouched.find("rope_scaling");
  const bool had_scaling = old != untouched.end() && !old->is_null();
  if (had_scaling && !config.contains("rope_scaling")) overrides["rope_scaling"] = nullptr;
  for (const auto& [key, value] : config.items()) {
    if (!untouched.contains(key) || untouched.at(key) != value) overrides[key] = value;
  }
  return overrides;
}

void require_exportable(const FineTunedModel& model) {
  static_cast<void>(fine_tuned_config(model, describe_model(model.model_directory, model.reached_length)));
}

void export_fine_tuned(const FineTunedModel& fine_tuned, const std::function<void(const fs::path&)>& write_files,
                       const fs::path& out) {
  const ModelDescription model = describe_model(fine_tuned.model_directory, fine_tuned.reached_length);
  const OrderedJson config = fine_tuned_config(fine_tuned, model);
  write_folder_atomically(out, [&](const fs::path& folder) {
    link_other_files(fine_tuned.model_directory, /*with_weights=*/false, folder);
    write_files(folder);
    write_file_atomically(folder / kConfigFile, config.dump(2) + "\n");
    if (fine_tuned.factors) {
      write_canonical_factors(
          folder / kFactorsFile, model, model_digest(folder),
          {.factors = *fine_tuned.factors, .target_length = fine_tuned.target_length, .short_table = {}});
    }
  });
}

}  // namespace longrope
