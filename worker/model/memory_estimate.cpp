#include "worker/model/memory_estimate.h"

#include "common/error.h"
#include "common/size_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace longrope {
namespace {

constexpr std::int64_t kRotaryBytes = 4;          // cos and sin are float32
constexpr std::int64_t kTokenBytes = 16;          // per token while the layers run: its id, its position
constexpr std::int64_t kScoredTokenBytes = 96;    // per token after the layers: target, predictor, sums, score
constexpr std::int64_t kBytesPerKibibyte = 1024;  // /proc counts kibibytes
constexpr std::int64_t kMaxLength = std::int64_t{1} << 31;  // no command takes a longer document

/// Columns of a matrix once it lies in panels.
std::int64_t padded(std::int64_t columns) { return panels(columns) * kPanelColumns; }

/// Layers that lie on a device at once when they come from files: one as read and as put together.
constexpr std::int64_t kReadLayers = 2;

/// Weights of one layer (ModelDescription::layer_weights()) once they are packed into panels.
std::int64_t packed_layer_weights(const ModelDescription& model) {
  const std::int64_t query = model.query_width();
  return padded(query + 2 * model.key_value_width()) * model.hidden_size + padded(model.hidden_size) * query +
         padded(2 * model.intermediate_size) * model.hidden_size + padded(model.hidden_size) * model.intermediate_size;
}

std::int64_t embedding_weights(const ModelDescription& model) { return model.vocabulary * model.hidden_size; }

/// Numbers per token of a tile in the buffers of Transformer::Tile (transformer.cpp), cos and sin included.
std::int64_t tile_numbers(const ModelDescription& model, std::int64_t candidates) {
  const std::int64_t projected = model.query_width() + 2 * model.key_value_width();
  return model.hidden_size + (candidates > 1 ? 2 : 1) * projected + model.query_width() + 3 * model.intermediate_size +
         model.geometry.rotary_dim;
}

/// Bytes per token that gradients take beside the forward pass (worker/model/transformer_gradient.cpp): the kept inputs
/// of layers, those of one group of layers, the gradient of the residual stream; of the layer at hand queries, keys and
/// values with their gradients, attention's result with its gradient, and the sums of exponentials. All float32.
std::int64_t gradient_bytes_per_token(const ModelDescription& model, const KeptForGradient& keep) {
  constexpr std::int64_t kFloatBytes = 4;
  const std::int64_t kept = (model.layers + keep.layers_between - 1) / keep.layers_between;
  const std::int64_t turned = model.query_width() + model.key_value_width();
  const std::int64_t layer = 2 * (turned + model.key_value_width()) + (model.query_key_norm ? turned : 0) +
                             2 * model.query_width() + model.query_heads;
  // One row more than the group's: that of the residual after attention.
  const std::int64_t attention = keep.attention ? (model.layers - 1) * (model.query_width() + model.query_heads) : 0;
  return kFloatBytes * ((kept + keep.layers_between + 2) * model.hidden_size + attention + layer);
}

/// What attention's backward pass of one thread takes per token (AttentionGradient).
std::int64_t attention_gradient_bytes(const ModelDescription& model) {
  constexpr std::int64_t kOperands = 7;
  constexpr std::int64_t kOperandBytes = 4;
  return kOperands * padded(model.head_dim) * kOperandBytes * model.key_value_heads;
}

/// Keeps less for a gradient; false when that would not save memory.
bool keep_less(const ModelDescription& model, MemoryLayout& layout) {
  if (!layout.gradient) return false;
  KeptForGradient less = *layout.gradient;
  less.layers_between += less.attention ? 0 : 1;
  less.attention = false;
  if (gradient_bytes_per_token(model, less) >= gradient_bytes_per_token(model, *layout.gradient)) return false;
  layout.gradient = less;
  return true;
}

/// Bytes per token of a tile that Torch's kernels on a device allocate for themselves, beside the buffers: the norm's
/// and attention's results, queries and keys in another order, attention's float32 sums while parts are joined.
std::int64_t device_tile_bytes(const ModelDescription& model, std::int64_t arithmetic_bytes) {
  constexpr std::int64_t kFloatBytes = 4;
  return (model.hidden_size + 4 * model.query_width()) * arithmetic_bytes +
         (model.hidden_size + 3 * model.query_width()) * kFloatBytes;
}

/// The estimate for a CUDA device.
MemoryEstimate estimate_on_device(const ModelDescription& model, const MemoryLayout& layout, std::int64_t tokens) {
  MemoryEstimate estimate;
  estimate.tokens = tokens * layout.candidates;
  const std::int64_t layer = model.layer_weights() * layout.product_bytes;
  const std::int64_t embedding = embedding_weights(model) * layout.weight_bytes;
  const std::int64_t embeddings = embedding * (model.tied_embeddings ? 1 : 2);
  if (layout.weights == WeightSource::kReady) estimate.weights = model.layers * layer + embeddings;
  if (layout.weights == WeightSource::kMemory) {
    estimate.weights = embeddings;
    estimate.layer = kStreamedLayers * layer;
  }
  if (layout.weights == WeightSource::kFiles) estimate.layer = kReadLayers * layer;
  const std::int64_t key_value_bytes = 2 * model.key_value_width() * layout.product_bytes;
  estimate.per_token = model.hidden_size * layout.arithmetic_bytes + key_value_bytes + kTokenBytes;
  estimate.tile =
      std::min(tokens, layout.tile_tokens) * (tile_numbers(model, layout.candidates) * layout.arithmetic_bytes +
                                              device_tile_bytes(model, layout.arithmetic_bytes));
  const std::int64_t columns = std::min(model.vocabulary, kDeviceLogitTile.columns);
  const std::int64_t rows = std::min(estimate.tokens, kDeviceLogitTile.rows);
  const std::int64_t part =
      layout.weights == WeightSource::kFiles ? columns * model.hidden_size * layout.weight_bytes : 0;
  const std::int64_t head =
      part + rows * (columns + 4 * model.hidden_size) * layout.arithmetic_bytes + estimate.tokens * kScoredTokenBytes;
  estimate.output = std::max<std::int64_t>(0, head - estimate.tokens * key_value_bytes);
  if (layout.weights == WeightSource::kFiles) {
    estimate.output = std::max(estimate.output, embedding - estimate.tokens * key_value_bytes);
  }
  return estimate;
}

/// Bytes of the host that the layers take when they are kept there for a device. Pinned memory comes in powers of two,
/// so that they take up to twice as much.
std::int64_t host_bytes(const ModelDescription& model, const MemoryLayout& layout) {
  return model.layers * model.layer_weights() * layout.weight_bytes;
}

/// Makes the tile of a layout smaller; false when it is the smallest already.
bool shrink_tile(MemoryLayout& layout) {
  const std::int64_t smallest = layout.on_device ? kSmallestDeviceTile : kAttentionPieceTokens;
  if (layout.tile_tokens <= smallest) return false;
  layout.tile_tokens = layout.on_device ? std::max(smallest, layout.tile_tokens / 2) : layout.tile_tokens - smallest;
  return true;
}

/// The weights as near to being ready as half of the budget allows.
void place_weights(const ModelDescription& model, std::int64_t budget, MemoryLayout& layout) {
  const auto fits = [&](WeightSource source) {
    layout.weights = source;
    return estimate_memory(model, layout, 0).weights <= budget / 2;
  };
  // What was asked to be kept in two bytes is not kept in four.
  if (layout.product_bytes <= layout.weight_bytes && fits(WeightSource::kReady)) return;
  const bool host_has_room = !layout.on_device || host_bytes(model, layout) <= layout.host_budget / 2;
  if (!fits(WeightSource::kMemory) || !host_has_room) layout.weights = WeightSource::kFiles;
}

/// What fit_memory() comes down to when nothing larger fits.
MemoryLayout smallest_layout(const ModelDescription& model, MemoryLayout layout) {
  layout.candidates = 1;
  while (keep_less(model, layout) || shrink_tile(layout)) {
  }
  return layout;
}

MemoryError not_enough(const ModelDescription& model, const MemoryLayout& layout, std::int64_t tokens,
                       std::int64_t budget) {
  const std::int64_t longest = longest_length(model, layout, budget);
  return MemoryError(fmt::format(
      "not enough memory: {} needed for {} tokens of {}, {} available; {}",
      size_text(estimate_memory(model, layout, tokens).total(), SizeRounding::kUp), grouped_digits(tokens), model.name,
      size_text(budget, SizeRounding::kDown),
      longest > 0 ? fmt::format("the longest length that fits is {}", grouped_digits(longest)) : "no length fits"));
}

}  // namespace

std::int64_t MemoryEstimate::total() const { return weights + tokens * per_token + std::max(layer + tile, output); }

MemoryEstimate estimate_memory(const ModelDescription& model, const MemoryLayout& layout, std::int64_t tokens) {
  if (layout.on_device) return estimate_on_device(model, layout, tokens);
  MemoryEstimate estimate;
  estimate.tokens = tokens * layout.candidates;
  const bool ready = layout.weights == WeightSource::kReady;
  const bool from_files = layout.weights == WeightSource::kFiles;
  const std::int64_t layer_weights = packed_layer_weights(model);
  const std::int64_t embedding = embedding_weights(model) * layout.weight_bytes;
  // Kept weights are packed from where they are; those in files are read first.
  const std::int64_t bytes_in_use = ready ? 0 : layout.product_bytes + (from_files ? layout.weight_bytes : 0);
  if (ready) {
    estimate.weights =
        (model.layers * layer_weights + padded(model.vocabulary) * model.hidden_size) * layout.product_bytes +
        embedding;
  } else if (!from_files) {
    estimate.weights = model.layers * layer_weights * layout.weight_bytes + embedding * (model.tied_embeddings ? 1 : 2);
  }
  estimate.layer = layer_weights * bytes_in_use;
  const std::int64_t key_value_bytes =
      model.key_value_heads * (model.head_dim + padded(model.head_dim)) * layout.product_bytes;
  estimate.per_token = model.hidden_size * layout.arithmetic_bytes + key_value_bytes + kTokenBytes;
  if (layout.gradient) {
    estimate.per_token += gradient_bytes_per_token(model, *layout.gradient) + attention_gradient_bytes(model);
    // The weights of the layer transposed, as products multiply them and as float32 while they are made so.
    estimate.layer += layer_weights * (layout.product_bytes + layout.arithmetic_bytes);
  }
  estimate.tile =
      std::min(tokens, layout.tile_tokens) * tile_numbers(model, layout.candidates) * layout.arithmetic_bytes +
      std::min(tokens, kRotaryRowsKept) * layout.candidates * model.geometry.rotary_dim * kRotaryBytes;
  const std::int64_t columns = std::min(model.vocabulary, kHostLogitTile.columns);
  const std::int64_t rows = std::min(estimate.tokens, kHostLogitTile.rows);
  // After the layers their keys and values are gone: what one part of the lm_head takes is seldom more.
  const std::int64_t keys_and_values = estimate.tokens * key_value_bytes;
  const std::int64_t head = columns * model.hidden_size * bytes_in_use +
                            rows * (columns + 2 * model.hidden_size) * layout.arithmetic_bytes +
                            estimate.tokens * kScoredTokenBytes;
  estimate.output = std::max<std::int64_t>(0, head - keys_and_values);
  // From files, the whole embedding is read once, before there are keys and values.
  if (from_files) estimate.output = std::max(estimate.output, embedding - keys_and_values);
  return estimate;
}

MemoryLayout fit_memory(const ModelDescription& model, MemoryLayout wanted, std::int64_t tokens, std::int64_t budget) {
  MemoryLayout layout = wanted;
  place_weights(model, budget, layout);
  while (estimate_memory(model, layout, tokens).total() > budget) {
    if (layout.candidates > 1) {
      --layout.candidates;
    } else if (!keep_less(model, layout) && !shrink_tile(layout)) {
      throw not_enough(model, layout, tokens, budget);
    }
  }
  return layout;
}

std::int64_t longest_length(const ModelDescription& model, const MemoryLayout& wanted, std::int64_t budget) {
  MemoryLayout layout = smallest_layout(model, wanted);
  place_weights(model, budget, layout);
  std::int64_t fits = 0;
  std::int64_t beyond = kMaxLength + 1;
  while (beyond - fits > 1) {
    const std::int64_t middle = fits + (beyond - fits) / 2;
    (estimate_memory(model, layout, middle).total() <= budget ? fits : beyond) = middle;
  }
  return fits;
}

std::int64_t available_memory() {
  std::int64_t available = std::numeric_limits<std::int64_t>::max();
  std::ifstream meminfo("/proc/meminfo");
  std::string word;
  std::int64_t kibibytes = 0;
  while (meminfo >> word) {
    if (word == "MemAvailable:" && meminfo >> kibibytes) available = kibibytes * kBytesPerKibibyte;
  }
  // Control groups version 2; "max" does not read as a number.
  std::int64_t limit = 0;
  std::int64_t used = 0;
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> limit && std::ifstream("/sys/fs/cgroup/memory.current") >> used) {
    available = std::min(available, std::max<std::int64_t>(0, limit - used));
  }
  return available;
}

}  // namespace longrope
