#include "common/formats/engine_config.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace longrope {
namespace {

const char* rope_key(HuggingFaceTarget target) {
  return target == HuggingFaceTarget::k4 ? "rope_scaling" : "rope_parameters";
}

std::string head(HuggingFaceTarget target) {
  return fmt::format("# For transformers {}.\n", target == HuggingFaceTarget::k4 ? 4 : 5);
}

}  // namespace

std::string vllm_config(const ModelDescription& model, const EngineTables& tables, HuggingFaceTarget target) {
  EngineTables for_vllm = tables;
  for_vllm.engine = Engine::kVllm;  // a Phi-3 of transformers 4 may have no attention factor: then the su rule holds
  const nlohmann::ordered_json overrides = config_overrides(model, for_vllm, target);
  // JSON of numbers and plain names has no single quote, the only character that must not stand in a text of YAML
  // between single quotes.
  return fmt::format("{}# vllm serve {} --config THIS\nmax-model-len: {}\nhf-overrides: '{}'\n", head(target),
                     model.directory.filename().string(), tables.target_length, overrides.dump());
}

std::string axolotl_config(const ModelDescription& model, const EngineTables& tables, HuggingFaceTarget target) {
  nlohmann::ordered_json overrides = config_overrides(model, tables, target);
  require_one_attention_factor(tables);
  nlohmann::ordered_json& rope = overrides[rope_key(target)];
  if (!tables.short_table) rope["short_factor"] = rope["long_factor"];
  std::string text =
      fmt::format("{}sequence_len: {}\noverrides_of_model_config:\n", head(target), tables.target_length);
  for (const auto& [key, value] : overrides.items()) text += fmt::format("  {}: {}\n", key, value.dump());
  return text;
}

}  // namespace longrope
