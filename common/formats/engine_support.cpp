#include "common/formats/engine_support.h"

#include "common/error.h"
#include "common/rope/plain_rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

namespace longrope {
namespace {

constexpr std::string_view kTransformersRope = "modeling_rope_utils.py: ROPE_INIT_FUNCTIONS";
constexpr std::string_view kTransformersPhi3 =
    "models/phi3/configuration_phi3.py: validate_rope refuses every rope_type but default and longrope";
constexpr std::string_view kVllmRope = "model_executor/layers/rotary_embedding/__init__.py: get_rope";
constexpr std::string_view kVllmPhi3 = "its configuration is read by transformers, which takes only longrope";
constexpr std::string_view kSglangRope = "srt/layers/rotary_embedding/factory.py: get_rope";
constexpr std::string_view kMlxRope = "mlx_lm/models/rope_utils.py: initialize_rope";

constexpr std::array<EngineSupport, 25> kEngineSupport = {{
    {Engine::kTransformers, "LlamaForCausalLM", true, true, kTransformersRope},
    {Engine::kTransformers, "MistralForCausalLM", true, true, kTransformersRope},
    {Engine::kTransformers, "Phi3ForCausalLM", true, false, kTransformersPhi3},
    {Engine::kTransformers, "Qwen2ForCausalLM", true, true, kTransformersRope},
    {Engine::kTransformers, "Qwen3ForCausalLM", true, true, kTransformersRope},
    {Engine::kVllm, "LlamaForCausalLM", true, true, kVllmRope},
    {Engine::kVllm, "MistralForCausalLM", true, true, kVllmRope},
    {Engine::kVllm, "Phi3ForCausalLM", true, false, kVllmPhi3},
    {Engine::kVllm, "Qwen2ForCausalLM", true, true, kVllmRope},
    {Engine::kVllm, "Qwen3ForCausalLM", true, true, kVllmRope},
    {Engine::kSglang, "LlamaForCausalLM", true, true, kSglangRope},
    {Engine::kSglang, "MistralForCausalLM", true, true, kSglangRope},
    {Engine::kSglang, "Phi3ForCausalLM", true, false, kVllmPhi3},
    {Engine::kSglang, "Qwen2ForCausalLM", true, true, kSglangRope},
    {Engine::kSglang, "Qwen3ForCausalLM", true, true, kSglangRope},
    {Engine::kLlamaCpp, "LlamaForCausalLM", true, true, "src/models/llama.cpp: get_rope_factors"},
    {Engine::kLlamaCpp, "MistralForCausalLM", true, true, "src/models/llama.cpp: get_rope_factors"},
    // Its graph would take yarn, but the config.json that the GGUF file is made from cannot say it.
    {Engine::kLlamaCpp, "Phi3ForCausalLM", true, false, "src/models/phi3.cpp: get_rope_factors"},
    {Engine::kLlamaCpp, "Qwen2ForCausalLM", false, true, "src/models/qwen2.cpp passes nullptr for factors"},
    {Engine::kLlamaCpp, "Qwen3ForCausalLM", false, true, "src/models/qwen3.cpp passes nullptr for factors"},
    {Engine::kMlx, "LlamaForCausalLM", true, true, kMlxRope},
    {Engine::kMlx, "MistralForCausalLM", true, true, kMlxRope},  // utils.py: MODEL_REMAPPING makes it a llama
    {Engine::kMlx, "Phi3ForCausalLM", true, false,
     "mlx_lm/models/phi3.py switches every scaling off but su, longrope and linear"},
    {Engine::kMlx, "Qwen2ForCausalLM", true, true, kMlxRope},
    {Engine::kMlx, "Qwen3ForCausalLM", true, true, kMlxRope},
}};

using Obstacle = std::optional<std::string>;  // why an engine does not get the factors in a form; nullopt: it does

bool has_usual_betas(const PlainRope& rule) {
  return rule.yarn.beta_fast == YarnOptions{}.beta_fast && rule.yarn.beta_slow == YarnOptions{}.beta_slow;
}

/// Engines add no m of their own to these rules and read none.
std::string no_attention_factor(std::string_view engine, const PlainRope& rule) {
  return fmt::format("{} applies no attention factor beside {}, and it is {:.6g}", engine, rule.text(),
                     rule.attention.value);
}

Obstacle yarn_obstacle(const EngineSupport& support, const PlainRope& rule, std::int64_t target_length) {
  // rotary_embedding/yarn_scaling_rope.py: _compute_cos_sin_cache. SGLang makes its cache longer when it must.
  const double positions = std::ceil(static_cast<double>(rule.original_length) * rule.factor);
  if (support.engine == Engine::kVllm && positions < static_cast<double>(target_length)) {
    return fmt::format("vLLM computes {} for {} positions, factor times the original length, and {} are wanted",
                       rule.text(), positions, target_length);
  }
  // src/llama-model.cpp reads no betas; the loaders of grok and mistral3 do.
  if (support.engine == Engine::kLlamaCpp && support.tables && !has_usual_betas(rule)) {
    return "llama.cpp reads the betas of yarn from its command line only";
  }
  return std::nullopt;
}

Obstacle plain_obstacle(const EngineSupport& support, const PlainRope& rule, std::int64_t target_length) {
  const bool with_attention_factor = rule.attention.value != 1.0;
  if (rule.type == PlainRopeType::kTheta && !with_attention_factor) return std::nullopt;
  if (!support.plain_blocks) {
    return fmt::format("it takes no block of {} ({}: {})", rule.text(), release_of(support.engine), support.source);
  }
  switch (rule.type) {
    case PlainRopeType::kTheta:
      if (support.engine != Engine::kMlx) return std::nullopt;
      return no_attention_factor("mlx-lm", rule);  // YarnRoPE of factor 1 has m = 1, whatever mscale is
    case PlainRopeType::kYarn:
      return yarn_obstacle(support, rule, target_length);
    case PlainRopeType::kLlama3:
      if (support.engine == Engine::kLlamaCpp) {
        return "llama.cpp has no key for llama3, which stands in a tensor of factors";
      }
      [[fallthrough]];
    case PlainRopeType::kLinear:
      if (with_attention_factor) return no_attention_factor("it", rule);
      return std::nullopt;
  }
  return std::nullopt;
}

std::int64_t short_length(const EngineTables& tables, const ModelDescription& model) {
  return tables.short_table ? tables.short_table->max_length : model.scaling.reached_length;
}

Obstacle tables_obstacle(const EngineSupport& support, const EngineTables& tables, const ModelDescription& model) {
  if (!support.tables) {
    return fmt::format("it takes no factors for each pair ({}: {})", release_of(support.engine), support.source);
  }
  if (support.engine != Engine::kMlx) return std::nullopt;
  // rope_utils.py: SuScaledRoPE keeps long_factor alone, and initialize_rope hands on no mscale.
  if (tables.short_table) return "mlx-lm takes the long table at every length, and never one for short texts";
  const std::int64_t original = short_length(tables, model);
  const double computed =
      attention_factor(AttentionPolicy::kSu, static_cast<double>(tables.target_length) / static_cast<double>(original),
                       original)
          .value;
  const double wanted = tables.factors.attention.value;
  if (std::abs(wanted - computed) <= kPlainRopeTolerance * computed) return std::nullopt;
  return fmt::format("mlx-lm computes the attention factor of longrope as su, {:.6g}, and reads no other: {:.6g}",
                     computed, wanted);
}

/// Why no plain block holds the factors.
std::string no_plain_rule(const EngineTables& tables) {
  if (tables.short_table) return "a plain block holds at every length, and there is a table for short texts";
  std::string reason = fmt::format(
      "no block of linear, yarn or llama3 and no rope_theta gives every lambda within {:g}", kPlainRopeTolerance);
  if (tables.factors.steps_per_unit > 0) {
    reason += fmt::format("; a closed form that was rounded to the grid of 1/{} is not that form any more",
                          tables.factors.steps_per_unit);
  }
  return reason;
}

std::vector<std::string> plain_remarks(const EngineSupport& support, const PlainRope& rule,
                                       const ModelDescription& model) {
  std::vector<std::string> remarks = {
      fmt::format("written as {}, attention factor {:.6g}, which {} applies at every length, also up to the {} tokens "
                  "that the model reaches without it",
                  rule.text(), rule.attention.value, to_string(support.engine), model.scaling.reached_length)};
  if (support.engine == Engine::kLlamaCpp && rule.type == PlainRopeType::kYarn && !has_usual_betas(rule)) {
    remarks.push_back(
        fmt::format("llama.cpp reads the betas of yarn from its command line only, for {}: every start needs "
                    "--yarn-beta-fast {:.10g} --yarn-beta-slow {:.10g}",
                    support.architecture, rule.yarn.beta_fast, rule.yarn.beta_slow));
  }
  return remarks;
}

std::vector<std::string> tables_remarks(Engine engine, std::int64_t original_length) {
  switch (engine) {
    case Engine::kVllm:
      return {
          fmt::format("vLLM takes the long table at every length while max-model-len is above {}", original_length)};
    case Engine::kSglang:
      return {fmt::format("SGLang takes the long table for a whole batch when one of its positions is above {}",
                          original_length)};
    case Engine::kLlamaCpp:
      return {fmt::format("llama.cpp takes the long table at every length of a context of more than {} tokens",
                          original_length)};
    case Engine::kMlx:
      return {"mlx-lm takes the long table at every length"};
    case Engine::kTransformers:
      break;
  }
  return {};
}

}  // namespace

const EngineSupport& engine_support(Engine engine, std::string_view architecture) {
  const auto* const found = std::ranges::find_if(kEngineSupport, [&](const EngineSupport& support) {
    return support.engine == engine && support.architecture == architecture;
  });
  if (found != kEngineSupport.end()) return *found;
  throw InputError(
      fmt::format("architecture must be one that was looked up for {}: {}; --format writes a form without "
                  "asking whether the engine takes it",
                  to_string(engine), architecture));
}

EngineForm form_for_engine(Engine engine, const ModelDescription& model, EngineTables tables,
                           const std::string& place) {
  require_expressible(tables, model);
  const EngineSupport& support = engine_support(engine, model.architecture);
  tables.engine = engine;
  std::optional<PlainRope> rule;
  if (!tables.short_table) rule = plain_rope_of(tables.factors, model.geometry, tables.target_length);
  const Obstacle against_plain =
      rule ? plain_obstacle(support, *rule, tables.target_length) : Obstacle(no_plain_rule(tables));
  if (!against_plain) {
    tables.plain = rule;
    return {.tables = std::move(tables), .remarks = plain_remarks(support, *rule, model)};
  }
  const Obstacle against_tables = tables_obstacle(support, tables, model);
  if (!against_tables) {
    std::vector<std::string> remarks = tables_remarks(engine, short_length(tables, model));
    return {.tables = std::move(tables), .remarks = std::move(remarks)};
  }
  throw InputError(fmt::format(
      "factors must have a form that {} takes for {}: {}, and {} ({}); export for another engine, or search "
      "in the space yarn or theta",
      to_string(engine), model.architecture, *against_tables, *against_plain, place));
}

}  // namespace longrope
