#pragma once

#include "finetune/training_run.h"
#include "worker/model/layer_weights.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace longrope {

/// AdamW (Loshchilov and Hutter 2019) on float32 leaves, with Torch's fused update. Not thread-safe.
class AdamW {
 public:
  AdamW(std::vector<NamedTensor> parameters, const AdamWOptions& options);

  /// Of every parameter that has one, in the order of the parameters.
  [[nodiscard]] std::vector<at::Tensor> gradients() const;
  /// Scales all gradients so that their norm is at most `max_norm` (0: leaves them), as torch's clip_grad_norm_ does;
  /// returns the norm before that.
  double clip_gradients(double max_norm) const;
  /// One update from the gradients, which are then zero. Parameters without a gradient stay.
  void update(double learning_rate);

  /// Everything that has to be kept for the next update to have the same bits: parameters and both moments.
  [[nodiscard]] std::vector<NamedTensor> state() const;
  [[nodiscard]] std::int64_t updates() const { return updates_; }
  /// After the tensors of state() were filled by hand.
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
