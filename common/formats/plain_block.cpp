#include "common/formats/plain_block.h"

#include <cmath>

namespace longrope {
namespace {

/// m over what the yarn of engines multiplies cos and sin by without being told, 0.1·ln `factor` + 1.
double yarn_attn_factor(double attention_factor, double factor) {
  return attention_factor / (0.1 * std::log(factor) + 1.0);
}

nlohmann::ordered_json yarn_block(double factor, double attention_factor, std::int64_t original_length,
                                  std::optional<Engine> engine) {
  nlohmann::ordered_json block = {{"rope_type", "yarn"},
                                  {"factor", factor},
                                  {"attention_factor", attention_factor},
                                  {"original_max_position_embeddings", original_length}};
  if (engine == Engine::kVllm || engine == Engine::kSglang) {
    block["attn_factor"] = yarn_attn_factor(attention_factor, factor);
  }
  if (engine == Engine::kMlx) block["mscale"] = (attention_factor - 1.0) / (0.1 * std::log(factor));
  return block;
}

}  // namespace

PlainBlock plain_block(const PlainRope& rule, std::int64_t target_length, std::optional<Engine> engine) {
  const double attention_factor = rule.attention.value;
  PlainBlock block = {.rope_theta = rule.rope_theta, .scaling = nullptr, .original_length = rule.original_length};
  switch (rule.type) {
    case PlainRopeType::kLinear:
      block.scaling = {{"rope_type", "linear"}, {"factor", rule.factor}};
      break;
    case PlainRopeType::kTheta:
      block.original_length = target_length;
      // Engines keep cos and sin for factor times the original length, so that must be the target.
      if (attention_factor != 1.0) block.scaling = yarn_block(1.0, attention_factor, target_length, engine);
      break;
    case PlainRopeType::kYarn:
      block.scaling = yarn_block(rule.factor, attention_factor, rule.original_length, engine);
      block.scaling["beta_fast"] = rule.yarn.beta_fast;
      block.scaling["beta_slow"] = rule.yarn.beta_slow;
      break;
    case PlainRopeType::kLlama3:
      block.scaling = {{"rope_type", "llama3"},
                       {"factor", rule.factor},
                       {"low_freq_factor", rule.low_freq_factor},
                       {"high_freq_factor", rule.high_freq_factor},
                       {"original_max_position_embeddings", rule.original_length}};
      break;
  }
  return block;
}

}  // namespace longrope
