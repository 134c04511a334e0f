#pragma once

#include "common/rope/rotary_table.h"
#include "finetune/model_parameters.h"
#include "worker/model/row_operations.h"

#include <ATen/core/Tensor.h>

namespace longrope {

/// What is computed alike for every micro-batch of a run.
struct TrainingArithmetic {
  at::ScalarType products = at::kFloat;  // linear maps and attention; all else is float32
  AngleMode angles = AngleMode::kFp64;
  bool recompute = false;  // keep only the input of each layer; compute the layer again in the backward pass
};

/// Forward and backward through the model of worker/model/transformer.h: the same weights, rotary tables and formulas,
/// with the scorer's rotation (rotation.h) and attention (attention.h) and else Torch's operations, and their
/// gradients. Sliding windows are not applied, as in a search. B = sequences, T = tokens of each. Not thread-safe.
class TrainingPass {
 public:
  /// Holds on to the tensors of `parameters` and adds to their gradients.
  TrainingPass(const ModelDescription& model, ModelParameters parameters, const TrainingArithmetic& arithmetic);

  /// Adds the gradient of `weight` · Σ NLL to every parameter, and returns Σ NLL in nats. `tokens` [B, T] int64;
  /// `labels` [B, T] int64: what follows each token, or kIgnoredLabel. All positions take `factors`.
  /// Memory (training_memory.h) beside parameters and gradients: with `recompute` one row per token and layer and the
  /// activations of one layer, else those of all layers; logits of kLossRows tokens. Bits are the same with `recompute`
  /// and without.
  [[nodiscard]] double accumulate_gradients(const at::Tensor& tokens, const at::Tensor& labels,
                                            const RescaleFactors& factors, double weight) const;

  static constexpr std::int64_t kIgnoredLabel = -100;

 private:
  [[nodiscard]] at::Tensor layer_output(const LayerWeights& weights, const at::Tensor& residual,
                                        const RotaryRows& rotary) const;
  [[nodiscard]] at::Tensor attention(const LayerWeights& weights, const at::Tensor& normed,
                                     const RotaryRows& rotary) const;
  [[nodiscard]] at::Tensor feed_forward(const LayerWeights& weights, const at::Tensor& normed) const;
  [[nodiscard]] at::Tensor norm(const at::Tensor& in, const at::Tensor& weight) const;
  [[nodiscard]] at::Tensor linear(const at::Tensor& in, const LinearWeights& weights) const;
  /// Gradient of the loss with respect to `residual` [B·T, hidden]; adds the NLL to `nll_sum`.
  [[nodiscard]] at::Tensor loss_gradient(const at::Tensor& residual, const at::Tensor& labels, double weight,
                                         double& nll_sum) const;

  ModelDescription model_;
  ModelParameters parameters_;
  TrainingArithmetic arithmetic_;
};

}  // namespace longrope
