#include "worker/kernels/cpu_kernels.h"

#include <bit>
#include <cmath>

namespace longrope {

#ifdef LONGROPE_X86_KERNELS

extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kAvx512Kernels;
extern const CpuKernels kAvx512Bfloat16Kernels;

const CpuKernels* avx2_kernels() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kAvx2Kernels : nullptr;
}

const CpuKernels* avx512_kernels() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? &kAvx512Kernels : nullptr;
}

const CpuKernels* avx512_bfloat16_kernels() {
  return avx512_kernels() != nullptr && __builtin_cpu_supports("avx512bf16") ? &kAvx512Bfloat16Kernels : nullptr;
}

#else

const CpuKernels* avx2_kernels() { return nullptr; }
const CpuKernels* avx512_kernels() { return nullptr; }
const CpuKernels* avx512_bfloat16_kernels() { return nullptr; }

#endif

namespace {

constexpr unsigned kBfloat16Shift = 16;  // a bfloat16 is the high half of a float
constexpr std::uint32_t kBfloat16NotANumber = 0x7FC0;

float to_float(float value) { return value; }
float to_float(std::uint16_t bfloat16) { return std::bit_cast<float>(std::uint32_t{bfloat16} << kBfloat16Shift); }

std::uint32_t to_bfloat16(std::uint16_t bfloat16) { return bfloat16; }
/// Rounded to nearest even.
std::uint32_t to_bfloat16(float value) {
  if (value != value) return kBfloat16NotANumber;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return (bits + 0x7FFFU + ((bits >> kBfloat16Shift) & 1U)) >> kBfloat16Shift;
}

/// Writes panels of operands: operand(column, k) of the weight, 0 beyond the last column.
template <typename Operand, typename Read>
void write_panels(std::int64_t columns, std::int64_t depth, std::int64_t first_panel, std::int64_t last_panel,
                  const Read& operand, Operand* panels) {
  for (std::int64_t panel = first_panel; panel < last_panel; ++panel) {
    Operand* const to = panels + panel * depth * kPanelColumns;
    for (std::int64_t lane = 0; lane < kPanelColumns; ++lane) {
      const std::int64_t column = panel * kPanelColumns + lane;
      for (std::int64_t k = 0; k < depth; ++k) {
        to[k * kPanelColumns + lane] = column < columns ? operand(column, k) : Operand{};
      }
    }
  }
}

}  // namespace

float attention_scale(std::int64_t head_dim) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

const CpuKernels* cpu_kernels(OperandType operands) {
  if (operands == OperandType::kBfloat16Pair) return avx512_bfloat16_kernels();
  const CpuKernels* const widest = avx512_kernels();
  return widest != nullptr ? widest : avx2_kernels();
}

template <typename Weight>
void pack_panels(const Weight* weight, std::int64_t columns, std::int64_t depth, std::int64_t first_panel,
                 std::int64_t last_panel, OperandType operands, void* panels) {
  if (operands == OperandType::kFloat32) {
    const auto number = [&](std::int64_t column, std::int64_t k) { return to_float(weight[column * depth + k]); };
    write_panels(columns, depth, first_panel, last_panel, number, static_cast<float*>(panels));
    return;
  }
  const auto pair = [&](std::int64_t column, std::int64_t k) {
    const Weight* const first = weight + column * depth + 2 * k;
    const std::uint32_t second = 2 * k + 1 < depth ? to_bfloat16(first[1]) : 0U;
    return to_bfloat16(first[0]) | second << kBfloat16Shift;
  };
  write_panels(columns, operand_count(operands, depth), first_panel, last_panel, pair,
               static_cast<std::uint32_t*>(panels));
}
template void pack_panels(const float*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, OperandType, void*);
template void pack_panels(const std::uint16_t*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, OperandType,
                          void*);

}  // namespace longrope
