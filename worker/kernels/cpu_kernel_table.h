#pragma once

// The kernels of one instruction set. Include only in the one source that is compiled for it.

#include "worker/kernels/attention_gradient.h"
#include "worker/kernels/flash_attention.h"
#include "worker/kernels/key_value_layout.h"
#include "worker/kernels/matrix_product.h"
#include "worker/kernels/row_kernels.h"

namespace longrope {

/// The table for an `Arithmetic` of operands.h.
template <typename Arithmetic>
constexpr CpuKernels kernel_table() {
  return {.instruction_set = Arithmetic::kName,
          .operands = Arithmetic::kType,
          .multiply = multiply<Arithmetic>,
          .attend = attend<Arithmetic>,
          .attend_backward = attend_backward<Arithmetic>,
          .store_keys = store_keys<Arithmetic>,
          .store_values = store_values<Arithmetic>,
          .rms_norm = rms_norm<Arithmetic>,
          .rotate = rotate<Arithmetic>,
          .gate = gate<Arithmetic>,
          .add_logits = add_logits<Arithmetic>};
}

}  // namespace longrope
