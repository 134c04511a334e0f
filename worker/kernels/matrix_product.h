#pragma once

// Bodies of CpuKernels::multiply and of the products inside attention; see cpu_kernels.h for what they compute.

#include "worker/kernels/cpu_kernels.h"
#include "worker/kernels/instruction_sets.h"

namespace longrope {

/// One block: out[r][0..15] = kept[r]·out[r][0..15] + Σ_k in[r][k]·panel[k][0..15], r < RowCount. `kept` may be null:
/// then `out` is only written. `columns` < 16 writes so many.
template <typename Isa, int RowCount>
void product_block(const float* in, std::int64_t in_stride, const float* panel, std::int64_t panel_stride,
                   std::int64_t depth, const float* kept, float* out, std::int64_t out_stride, std::int64_t columns) {
  typename Isa::Panel sums[RowCount];
#pragma GCC unroll 16
  for (int row = 0; row < RowCount; ++row) sums[row] = Isa::broadcast(0.0F);
  for (std::int64_t k = 0; k < depth; ++k) {
    const typename Isa::Panel right = Isa::load(panel + k * panel_stride);
#pragma GCC unroll 16
    for (int row = 0; row < RowCount; ++row) {
      sums[row] = Isa::multiply_add(Isa::broadcast(in[row * in_stride + k]), right, sums[row]);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < RowCount; ++row) {
    float* const to = out + row * out_stride;
    if (columns == kPanelColumns) {
      if (kept != nullptr) sums[row] = Isa::multiply_add(Isa::load(to), Isa::broadcast(kept[row]), sums[row]);
      Isa::store(to, sums[row]);
    } else {
      float lanes[kPanelColumns] = {};
      for (std::int64_t column = 0; column < columns && kept != nullptr; ++column) lanes[column] = to[column];
      if (kept != nullptr) sums[row] = Isa::multiply_add(Isa::load(lanes), Isa::broadcast(kept[row]), sums[row]);
      Isa::store(lanes, sums[row]);
      for (std::int64_t column = 0; column < columns; ++column) to[column] = lanes[column];
    }
  }
}

/// product_block for 1 to Isa::kRows rows.
template <typename Isa, int RowCount = Isa::kRows>
void product_rows(std::int64_t rows, const float* in, std::int64_t in_stride, const float* panel,
                  std::int64_t panel_stride, std::int64_t depth, const float* kept, float* out, std::int64_t out_stride,
                  std::int64_t columns) {
  if (rows == RowCount) {
    product_block<Isa, RowCount>(in, in_stride, panel, panel_stride, depth, kept, out, out_stride, columns);
  } else if constexpr (RowCount > 1) {
    product_rows<Isa, RowCount - 1>(rows, in, in_stride, panel, panel_stride, depth, kept, out, out_stride, columns);
  }
}

inline constexpr float kAllKept[16] = {1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F,
                                       1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F};

template <typename Isa>
void multiply(const Product& product) {
  // Changing it changes results: it bounds how many products one running sum takes. A panel of 320 rows is 20 KiB: it
  // stays in the L1 cache. Parts are of equal depth, so that none is a short rest that costs as much as a long one.
  constexpr std::int64_t kLargestDepth = 320;
  const std::int64_t parts = (product.depth + kLargestDepth - 1) / kLargestDepth;
  const std::int64_t part_depth = (product.depth + parts - 1) / parts;
  constexpr std::int64_t kRowsInL2Cache = 96;
  const auto smaller = [](std::int64_t a, std::int64_t b) { return a < b ? a : b; };
  for (std::int64_t k = 0; k < product.depth; k += part_depth) {
    const std::int64_t depth = smaller(part_depth, product.depth - k);
    const float* const kept = k > 0 || product.accumulate ? kAllKept : nullptr;
    for (std::int64_t first = 0; first < product.in.rows; first += kRowsInL2Cache) {
      const std::int64_t last = smaller(first + kRowsInL2Cache, product.in.rows);
      for (std::int64_t panel = product.first_panel; panel < product.last_panel; ++panel) {
        const float* const right = product.matrix + (panel * product.depth + k) * kPanelColumns;
        const std::int64_t column = panel * kPanelColumns;
        const std::int64_t columns = smaller(kPanelColumns, product.columns - column);
        for (std::int64_t row = first; row < last; row += Isa::kRows) {
          product_rows<Isa>(smaller(Isa::kRows, last - row), product.in.data + row * product.in.stride + k,
                            product.in.stride, right, kPanelColumns, depth, kept,
                            product.out.data + row * product.out.stride + column, product.out.stride, columns);
        }
      }
    }
  }
}

}  // namespace longrope
