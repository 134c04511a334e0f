#pragma once

#include "common/formats/engine.h"
#include "common/rope/plain_rope.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>

namespace longrope {

/// A plain rule as config.json says it.
struct PlainBlock {
  double rope_theta = 10000.0;
  nlohmann::ordered_json scaling;  // rope_type and its numbers, without rope_theta; null: no scaling
  /// original_max_position_embeddings at top level, where engines prefer it to that of the block. It must not stay what
  /// the model has.
  std::int64_t original_length = 0;
};

/// The block of `rule` for a model that is exported for `target_length` tokens. Beside attention_factor, which
/// transformers and vLLM 0.33 read, m stands under the name that `engine` reads:
/// - vLLM up to 0.25 and SGLang multiply their own 0.1·ln s + 1 by `attn_factor`: m / (0.1·ln s + 1).
/// - mlx-lm computes m = 0.1·mscale·ln s + 1 from `mscale`: (m − 1) / (0.1·ln s).
/// A changed rope_theta with an m other than 1 is yarn of factor 1, the only type with an attention factor: it leaves
/// all angles as they are.
[[nodiscard]] PlainBlock plain_block(const PlainRope& rule, std::int64_t target_length,
                                     std::optional<Engine> engine = std::nullopt);

}  // namespace longrope
