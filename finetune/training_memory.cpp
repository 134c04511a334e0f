#include "finetune/training_memory.h"

#include <algorithm>

namespace longrope {
namespace {

constexpr std::int64_t kFloat = 4;               // bytes of a float32
constexpr std::int64_t kParameter = 4 * kFloat;  // value, gradient, both moments

std::int64_t product_bytes(const TrainingOptions& options) {
  return options.settings.dtype == ComputeDtype::kBf16 ? 2 : kFloat;
}

/// Bytes per token that one layer's autograd graph keeps until its backward pass. Derived from the operations, then
/// calibrated against measured peaks.
std::int64_t layer_graph(const ModelDescription& model, std::int64_t product) {
  const std::int64_t stream = 3 * model.hidden_size * kFloat;  // input, after attention, one more as measured
  const std::int64_t norms = 2 * model.hidden_size * (kFloat + product);  // before and after the norm's weight
  const bool grouped = model.query_heads != model.key_value_heads;        // if so, keys and values are repeated
  const std::int64_t attention =
      grouped ? 4 * model.query_width() : 3 * model.query_width() + 3 * model.key_value_width();
  return stream + norms + (attention + 4 * model.intermediate_size) * product;
}

/// Bytes at the peak of a micro-batch of `tokens` tokens, beside parameters, gradients and moments.
std::int64_t activations(const ModelDescription& model, const TrainingOptions& options, std::int64_t tokens) {
  const std::int64_t product = product_bytes(options);
  const std::int64_t row = model.hidden_size * kFloat;
  // A layer's backward pass holds most in its feed-forward: gradients of the layer's output and input, of gate and up.
  const std::int64_t backward = 2 * row + 2 * model.intermediate_size * product;
  const std::int64_t graph = layer_graph(model, product);
  // Between forward and backward pass of the layers: logits of kLossRows rows, their log-probabilities, both gradients.
  const std::int64_t logits = std::min(tokens, kLossRows) * model.vocabulary * 4 * kFloat;
  if (options.settings.recompute) return tokens * model.layers * row + std::max(tokens * (graph + backward), logits);
  return tokens * model.layers * graph + std::max(tokens * backward, logits);
}

}  // namespace

std::int64_t estimate_training_memory(const ModelDescription& model, const TrainingOptions& options) {
  const std::int64_t embeddings = model.vocabulary * model.hidden_size * (model.tied_embeddings ? 1 : 2);
  std::int64_t bytes = kParameter * (model.layers * model.layer_weights() + embeddings);
  if (options.settings.dtype == ComputeDtype::kBf16) {  // the graphs hold bfloat16 copies of the matrices
    bytes += product_bytes(options) * model.layer_weights() * (options.settings.recompute ? 1 : model.layers);
  }
  std::int64_t tokens = options.length * micro_batch_size(options, options.settings.batch_size, options.length);
  if (const auto samples = short_samples(options.settings)) {
    tokens = std::max(tokens, samples->length * micro_batch_size(options, samples->batch_size, samples->length));
  }
  return bytes + activations(model, options, tokens);
}

}  // namespace longrope
