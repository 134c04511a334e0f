#pragma once

// Body of CpuKernels::multiply and of the products inside attention; see cpu_kernels.h for what they compute.

#include "worker/kernels/operands.h"

namespace longrope {

/// A block of a product: out[r][c] = kept[r]·out[r][c] + Σ_k in[r][k]·matrix[k][c], k in operands, for `columns`
/// columns that begin with a panel. `kept` may be null: then `out` is only written.
template <typename Arithmetic>
struct ProductBlock {
  using Operand = typename Arithmetic::Operand;
  const Operand* in;
  std::int64_t in_stride;
  const Operand* matrix;
  std::int64_t matrix_stride;  // from one k to the next
  std::int64_t panel_stride;   // from one panel to the next
  std::int64_t depth;
  const float* kept;
  float* out;
  std::int64_t out_stride;
  std::int64_t columns;
};

/// A block of RowCount rows and PanelCount panels. Every sum runs over k in order, whatever the block.
template <typename Arithmetic, int RowCount, int PanelCount>
void product_block(const ProductBlock<Arithmetic>& block) {
  using Panel = typename Arithmetic::Panel;
  Panel sums[RowCount][PanelCount];
#pragma GCC unroll 16
  for (int row = 0; row < RowCount; ++row) {
#pragma GCC unroll 16
    for (int panel = 0; panel < PanelCount; ++panel) sums[row][panel] = Arithmetic::broadcast(0.0F);
  }
  const typename Arithmetic::Operand* matrix = block.matrix;
  for (std::int64_t k = 0; k < block.depth; ++k, matrix += block.matrix_stride) {
    typename Arithmetic::OperandPanel right[PanelCount];
#pragma GCC unroll 16
    for (int panel = 0; panel < PanelCount; ++panel) {
      right[panel] = Arithmetic::load_operands(matrix + panel * block.panel_stride);
    }
#pragma GCC unroll 16
    for (int row = 0; row < RowCount; ++row) {
      const typename Arithmetic::OperandPanel left = Arithmetic::broadcast_operand(block.in[row * block.in_stride + k]);
#pragma GCC unroll 16
      for (int panel = 0; panel < PanelCount; ++panel) {
        sums[row][panel] = Arithmetic::add_product(left, right[panel], sums[row][panel]);
      }
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < RowCount; ++row) {
#pragma GCC unroll 16
    for (int panel = 0; panel < PanelCount; ++panel) {
      float* const to = block.out + row * block.out_stride + panel * kPanelColumns;
      const std::int64_t columns = block.columns - panel * kPanelColumns;
      Panel sum = sums[row][panel];
      if (columns >= kPanelColumns) {
        if (block.kept != nullptr) {
          sum = Arithmetic::multiply_add(Arithmetic::load(to), Arithmetic::broadcast(block.kept[row]), sum);
        }
        Arithmetic::store(to, sum);
      } else {
        float lanes[kPanelColumns] = {};
        for (std::int64_t column = 0; column < columns && block.kept != nullptr; ++column) lanes[column] = to[column];
        if (block.kept != nullptr) {
          sum = Arithmetic::multiply_add(Arithmetic::load(lanes), Arithmetic::broadcast(block.kept[row]), sum);
        }
        Arithmetic::store(lanes, sum);
        for (std::int64_t column = 0; column < columns; ++column) to[column] = lanes[column];
      }
    }
  }
}

/// product_block for 1 to Arithmetic::kRows rows.
template <typename Arithmetic, int PanelCount, int RowCount = Arithmetic::kRows>
void product_rows(std::int64_t rows, const ProductBlock<Arithmetic>& block) {
  if (rows == RowCount) {
    product_block<Arithmetic, RowCount, PanelCount>(block);
  } else if constexpr (RowCount > 1) {
    product_rows<Arithmetic, PanelCount, RowCount - 1>(rows, block);
  }
}

inline constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

/// A block of up to Arithmetic::kRows rows and Arithmetic::kPanels panels.
template <typename Arithmetic>
void multiply_block(std::int64_t rows, const ProductBlock<Arithmetic>& block) {
  static_assert(Arithmetic::kPanels <= 2);
  if (block.columns > kPanelColumns) {
    product_rows<Arithmetic, Arithmetic::kPanels>(rows, block);
  } else {
    product_rows<Arithmetic, 1>(rows, block);
  }
}

/// Up to Arithmetic::kRows rows and any number of columns.
template <typename Arithmetic>
void multiply_rows(std::int64_t rows, ProductBlock<Arithmetic> block) {
  constexpr std::int64_t kColumns = Arithmetic::kPanels * kPanelColumns;
  for (std::int64_t left = block.columns; left > 0; left -= kColumns) {
    block.columns = smaller(kColumns, left);
    multiply_block<Arithmetic>(rows, block);
    block.matrix += Arithmetic::kPanels * block.panel_stride;
    block.out += kColumns;
  }
}

inline constexpr float kAllKept[16] = {1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F,
                                       1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1.0F};

template <typename Arithmetic>
void multiply(const Product& product) {
  using Operand = typename Arithmetic::Operand;
  // Changing it changes results: it bounds how many products one running sum takes. A panel of 320 operands of depth is
  // 20 KiB. Parts are of equal depth, so that none is a short rest that costs as much as a long one.
  constexpr std::int64_t kLargestDepth = 320;
  constexpr std::int64_t kRowsInL2Cache = 96;
  constexpr std::int64_t kPanels = Arithmetic::kPanels;
  alignas(64) Operand in[kRowsInL2Cache * kLargestDepth];
  const auto* const matrix = static_cast<const Operand*>(product.matrix);
  const std::int64_t depth = operands<Arithmetic>(product.depth);
  const std::int64_t parts = (depth + kLargestDepth - 1) / kLargestDepth;
  const std::int64_t part_depth = (depth + parts - 1) / parts;
  for (std::int64_t k = 0; k < depth; k += part_depth) {
    const std::int64_t numbers = smaller(part_depth * Arithmetic::kNumbers, product.depth - k * Arithmetic::kNumbers);
    for (std::int64_t first = 0; first < product.in.rows; first += kRowsInL2Cache) {
      const std::int64_t last = smaller(first + kRowsInL2Cache, product.in.rows);
      for (std::int64_t row = first; row < last; ++row) {
        Arithmetic::pack(product.in.data + row * product.in.stride + k * Arithmetic::kNumbers, numbers,
                         in + (row - first) * kLargestDepth);
      }
      for (std::int64_t panel = product.first_panel; panel < product.last_panel; panel += kPanels) {
        const std::int64_t column = panel * kPanelColumns;
        const std::int64_t end = smaller(smaller(panel + kPanels, product.last_panel) * kPanelColumns, product.columns);
        for (std::int64_t row = first; row < last; row += Arithmetic::kRows) {
          multiply_block<Arithmetic>(smaller(Arithmetic::kRows, last - row),
                                     {.in = in + (row - first) * kLargestDepth,
                                      .in_stride = kLargestDepth,
                                      .matrix = matrix + (panel * depth + k) * kPanelColumns,
                                      .matrix_stride = kPanelColumns,
                                      .panel_stride = depth * kPanelColumns,
                                      .depth = operands<Arithmetic>(numbers),
                                      .kept = k > 0 || product.accumulate ? kAllKept : nullptr,
                                      .out = product.out.data + row * product.out.stride + column,
                                      .out_stride = product.out.stride,
                                      .columns = end - column});
        }
      }
    }
  }
}

}  // namespace longrope
