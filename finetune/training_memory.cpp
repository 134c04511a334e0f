#include "finetune/training_memory.h"

#include <algorithm>

namespace longrope {
namespace {

constexpr std::int64_t kFloat = 4;               // bytes of a float32
constexpr std::int64_t kParameter = 4 * kFloat;  // value, gradient, both moments

std::int64_t product_bytes(const TrainingOptions& options) { return options.dtype == ComputeDtype::kBf16 ? 2 : kFloat; }

/// Of one token: what the graph of one layer holds until its way back. Counted, and corrected by what was measured.
std::int64_t layer_graph(const ModelDescription& model, std::int64_t product) {
  const std::int64_t stream = 3 * model.hidden_size * kFloat;             // the input, after attention, and one more
  const std::int64_t norms = 2 * model.hidden_size * (kFloat + product);  // before the norm's weight, and after it
  const bool grouped = model.query_heads != model.key_value_heads;        // then keys and values are repeated
  const std::int64_t attention =
      grouped ? 4 * model.query_width() : 3 * model.query_width() + 3 * model.key_value_width();
  return stream + norms + (attention + 4 * model.intermediate_size) * product;
}

std::int64_t activations(const ModelDescription& model, const TrainingOptions& options, std::int64_t tokens) {
  const std::int64_t product = product_bytes(options);
  const std::int64_t row = model.hidden_size * kFloat;
  // Most is held on the way back through the feed-forward: gradients of the layer's output and input, of gate and up.
  const std::int64_t way_back = 2 * row + 2 * model.intermediate_size * product;
  const std::int64_t graph = layer_graph(model, product);
  // Between the layers and their way back: logits of some rows, their log-probabilities, the gradients of both.
  const std::int64_t logits = std::min(tokens, kLossRows) * model.vocabulary * 4 * kFloat;
  if (options.recompute) return tokens * model.layers * row + std::max(tokens * (graph + way_back), logits);
  return tokens * model.layers * graph + std::max(tokens * way_back, logits);
}

}  // namespace

std::int64_t estimate_training_memory(const ModelDescription& model, const TrainingOptions& options) {
  const std::int64_t embeddings = model.vocabulary * model.hidden_size * (model.tied_embeddings ? 1 : 2);
  std::int64_t bytes = kParameter * (model.layers * model.layer_weights() + embeddings);
  if (options.dtype == ComputeDtype::kBf16) {  // copies of the matrices, held by the graphs
    bytes += product_bytes(options) * model.layer_weights() * (options.recompute ? 1 : model.layers);
  }
  std::int64_t tokens = options.length * micro_batch_size(options, options.batch_size, options.length);
  if (const auto& short_samples = options.short_samples) {
    tokens = std::max(
        tokens, short_samples->length * micro_batch_size(options, short_samples->batch_size, short_samples->length));
  }
  return bytes + activations(model, options, tokens);
}

}  // namespace longrope
