#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace longrope {

/// Which projections of attention have biases. kConfigured: all four when config.json's attention_bias is true.
enum class AttentionBias { kNone, kQueryKeyValue, kConfigured };

/// Which layers see only the last `sliding_window` tokens. kByLayer: where use_sliding_window is true, those that
/// layer_types names, or without that key all from max_window_layers on.
enum class WindowedLayers { kNone, kAll, kByLayer };

/// What one class of Hugging Face's transformers computes, beyond what all of them share: RMSNorm, rotary embeddings in
/// the half-split layout, grouped-query attention and a gated feed-forward network with silu. The default_ fields are
/// the values of keys that config.json may leave out (transformers 5).
struct Architecture {
  std::string_view name;  // in config.json's "architectures"
  AttentionBias attention_bias = AttentionBias::kNone;
  bool feed_forward_bias = false;  // config.json's mlp_bias may be true
  bool query_key_norm = false;     // RMSNorm of each query and key head, before the rotary embedding
  bool fused_projections = false;  // qkv_proj and gate_up_proj, each one tensor
  bool partial_rotary = false;     // partial_rotary_factor may be below 1
  bool longrope_only = false;      // transformers reads no rope scaling but longrope
  WindowedLayers windowed_layers = WindowedLayers::kNone;
  std::int64_t default_key_value_heads = 0;  // 0: as many as query heads
  std::int64_t default_head_dim = 0;         // 0: hidden_size / num_attention_heads
  std::int64_t default_sliding_window = 0;   // 0: none
  double default_epsilon = 1e-6;
};

inline constexpr std::array<Architecture, 5> kArchitectures = {{
    {.name = "LlamaForCausalLM", .attention_bias = AttentionBias::kConfigured, .feed_forward_bias = true},
    {.name = "MistralForCausalLM",
     .windowed_layers = WindowedLayers::kAll,
     .default_key_value_heads = 8,
     .default_sliding_window = 4096},
    {.name = "Phi3ForCausalLM",
     .fused_projections = true,
     .partial_rotary = true,
     .longrope_only = true,
     .windowed_layers = WindowedLayers::kAll,
     .default_epsilon = 1e-5},
    {.name = "Qwen2ForCausalLM",
     .attention_bias = AttentionBias::kQueryKeyValue,
     .windowed_layers = WindowedLayers::kByLayer,
     .default_key_value_heads = 32,
     .default_sliding_window = 4096},
    {.name = "Qwen3ForCausalLM",
     .attention_bias = AttentionBias::kConfigured,
     .query_key_norm = true,
     .windowed_layers = WindowedLayers::kByLayer,
     .default_key_value_heads = 32,
     .default_head_dim = 128,
     .default_sliding_window = 4096},
}};

/// First layer with a window of kByLayer architectures whose config.json leaves out max_window_layers.
inline constexpr std::int64_t kDefaultMaxWindowLayers = 28;

}  // namespace longrope
