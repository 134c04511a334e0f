#pragma once

// Bodies of CpuKernels::store_keys and store_values; see cpu_kernels.h for the layouts that they write.

#include "worker/kernels/operands.h"

#include <cstdint>

namespace longrope {

template <typename Arithmetic>
void store_keys(const HeadRows& keys) {
  using Operand = typename Arithmetic::Operand;
  const std::int64_t depth = operands<Arithmetic>(keys.head_dim);
  Scratch<Arithmetic, Operand> packed(panels(keys.head_dim) * kPanelColumns);
  for (std::int64_t row = 0; row < keys.in.rows; ++row) {
    Arithmetic::pack(keys.in.data + row * keys.in.stride, keys.head_dim, packed.data());
    const std::int64_t position = keys.first_position + row;
    Operand* const to =
        static_cast<Operand*>(keys.out) + position / kPanelColumns * depth * kPanelColumns + position % kPanelColumns;
    for (std::int64_t k = 0; k < depth; ++k) to[k * kPanelColumns] = packed.data()[k];
  }
}

template <typename Arithmetic>
void store_values(const HeadRows& values) {
  using Operand = typename Arithmetic::Operand;
  const std::int64_t stride = panels(values.head_dim) * kPanelColumns;
  for (std::int64_t row = 0; row < values.in.rows; ++row) {
    const std::int64_t position = values.first_position + row;
    Operand* const to = static_cast<Operand*>(values.out) + position / Arithmetic::kNumbers * stride;
    Arithmetic::put(values.in.data + row * values.in.stride, values.head_dim, stride, position % Arithmetic::kNumbers,
                    to);
  }
}

}  // namespace longrope
