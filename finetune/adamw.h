#pragma once

#include "config/training_settings.h"
#include "worker/model/layer_weights.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace longrope {

/// The settings of AdamW (config/training_settings.h), which has their defaults.
struct AdamWOptions {
  double beta1;
  double beta2;
  double epsilon;
  double weight_decay;  // for matrices only: not for norms and biases
};
[[nodiscard]] AdamWOptions adamw_options(const TrainingSettings& settings);

/// AdamW (Loshchilov and Hutter 2019) on float32 leaves, with Torch's fused update. Not thread-safe.
class AdamW {
 public:
  AdamW(std::vector<NamedTensor> parameters, const AdamWOptions& options);

  /// The gradients of all parameters that have one, in the order of the parameters.
  [[nodiscard]] std::vector<at::Tensor> gradients() const;
  /// Scales all gradients so that their common L2 norm is at most `max_norm` (0: leaves them), as Torch's
  /// clip_grad_norm_ does; returns the norm before scaling.
  double clip_gradients(double max_norm) const;
  /// One update from the gradients, which are zero afterwards. Parameters without a gradient stay as they are.
  void update(double learning_rate);

  /// Everything the next update depends on, besides gradients and updates(): parameters and both moments. Views.
  [[nodiscard]] std::vector<NamedTensor> state() const;
  [[nodiscard]] std::int64_t updates() const { return updates_; }
  /// Sets updates(), after the tensors of state() were filled from a saved state.
  void resume_at(std::int64_t updates) { updates_ = updates; }

 private:
  struct Slot {
    NamedTensor parameter;
    at::Tensor first_moment;
    at::Tensor second_moment;
  };

  std::vector<Slot> slots_;
  AdamWOptions options_;
  std::int64_t updates_ = 0;
};

}  // namespace longrope
