#include "coordinator/export/engine_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "coordinator/export/hugging_face_export.h"

namespace longrope {
namespace {

constexpr const char* kRope = "rope_parameters";

}  // namespace

std::string vllm_config(const std::filesystem::path& model_directory, const EngineTables& tables) {
  nlohmann::ordered_json overrides = config_overrides(model_directory, tables);
  const double long_mscale = tables.factors.attention.value;
  overrides[kRope]["short_mscale"] = tables.short_table ? tables.short_table->factors.attention.value : long_mscale;
  overrides[kRope]["long_mscale"] = long_mscale;
  // JSON of numbers and plain names has no single quote, which is all that a quoted text of YAML must not have.
  return fmt::format("# vllm serve {} --config THIS\nmax-model-len: {}\nhf-overrides: '{}'\n",
                     model_directory.filename().string(), tables.target_length, overrides.dump());
}

std::string axolotl_config(const std::filesystem::path& model_directory, const EngineTables& tables) {
  nlohmann::ordered_json overrides = config_overrides(model_directory, tables);
  require_one_attention_factor(tables);
  if (!tables.short_table) overrides[kRope]["short_factor"] = overrides[kRope]["long_factor"];
  std::string text = fmt::format("sequence_len: {}\noverrides_of_model_config:\n", tables.target_length);
  for (const auto& [key, value] : overrides.items()) text += fmt::format("  {}: {}\n", key, value.dump());
  return text;
}

}  // namespace longrope
