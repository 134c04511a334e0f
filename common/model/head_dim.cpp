#include "common/model/head_dim.h"

#include "common/model/architecture.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace longrope {
namespace {

/// 0: the architecture has none of its own, or none is named.
std::int64_t default_head_dim(const JsonObject& config) {
  if (!config.has("architectures")) return 0;
  const std::vector<std::string> names = config.texts("architectures");
  if (names.size() != 1) return 0;
  const auto* const found = std::ranges::find(kArchitectures, names.front(), &Architecture::name);
  return found == kArchitectures.end() ? 0 : found->default_head_dim;
}

}  // namespace

std::optional<std::int64_t> read_head_dim(const JsonObject& config) {
  std::optional<std::int64_t> head_dim = config.optional_integer("head_dim", 2, kMaxHeadDim);
  if (const std::int64_t absent = default_head_dim(config); !head_dim && absent > 0) head_dim = absent;
  if (!head_dim) {
    if (!config.has("hidden_size") || !config.has("num_attention_heads")) return std::nullopt;
    const std::int64_t hidden_size = config.integer("hidden_size", 1, kMaxWidth);
    const std::int64_t heads = config.integer("num_attention_heads", 1, kMaxHeads);
    if (hidden_size % heads != 0) {
      config.refuse("hidden_size",
                    fmt::format("must be a multiple of num_attention_heads, {}, without head_dim", heads));
    }
    head_dim = hidden_size / heads;
  }
  if (*head_dim < 2 || *head_dim % 2 != 0 || *head_dim > kMaxHeadDim) {
    config.refuse("head_dim", fmt::format("must be even and at most {}", kMaxHeadDim), *head_dim);
  }
  return head_dim;
}

}  // namespace longrope
