#pragma once

// What products multiply, in elements of four bytes, and the instructions on sixteen of them. The bodies of products
// and attention are written once for any: `Arithmetic` is one of these on top of an instruction set.

#include "worker/kernels/cpu_kernels.h"
#include "worker/kernels/instruction_sets.h"

#include <cstdint>
#include <cstring>
#include <new>

namespace longrope {

/// Products of float32: an operand is one number.
template <typename Isa>
struct Float32Operands : Isa {
  using Panel = typename Isa::Panel;
  using Operand = float;
  using OperandPanel = Panel;
  static constexpr OperandType kType = OperandType::kFloat32;
  static constexpr std::int64_t kNumbers = numbers_per_operand(kType);

  static OperandPanel load_operands(const Operand* from) { return Isa::load(from); }
  static OperandPanel broadcast_operand(Operand value) { return Isa::broadcast(value); }
  /// sum + a·b, each lane rounded once.
  static Panel add_product(OperandPanel a, OperandPanel b, Panel sum) { return Isa::multiply_add(a, b, sum); }

  static void store_as_operands(Operand* to, Panel numbers) { Isa::store(to, numbers); }
  /// Writes `count` consecutive numbers of a row as operands.
  static void pack(const float* from, std::int64_t count, Operand* to) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
  }
  /// Writes `count` numbers and zeros up to `filled` into number `place` of as many operands. The places of one operand
  /// are filled in order; those that wait hold 0.
  static void put(const float* from, std::int64_t count, std::int64_t filled, std::int64_t /*place*/, Operand* to) {
    pack(from, count, to);
    std::memset(to + count, 0, static_cast<std::size_t>(filled - count) * sizeof(float));
  }

  /// Sixteen operands that each hold a number of every row; `second` is only for pairs, and may be null: 0.
  static void join(const float* first, const float* /*second*/, Operand* to) { Isa::store(to, Isa::load(first)); }

  /// Softmax takes powers of e of scores.
  static constexpr float kScoreUnit = 1.0F;
  static Panel power(Panel exponent) { return exponential<Isa>(exponent); }
};

#ifdef __AVX512BF16__

/// Products of bfloat16 with sums in float32: an operand is a pair of numbers that follow each other along the depth,
/// the first in the low half. Numbers are rounded to nearest even; those below 2^-126 count as 0.
struct Bfloat16Operands : Avx512 {
  static constexpr const char* kName = "AVX512-BF16";
  using Operand = std::uint32_t;
  struct OperandPanel {
    __m512bh all;
  };
  static constexpr OperandType kType = OperandType::kBfloat16Pair;
  static constexpr std::int64_t kNumbers = numbers_per_operand(kType);

  static OperandPanel load_operands(const Operand* from) {
    return {reinterpret_cast<__m512bh>(_mm512_loadu_si512(from))};
  }
  static OperandPanel broadcast_operand(Operand value) {
    return {reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(value)))};
  }
  /// sum + the two products of each lane, in the order and roundings of VDPBF16PS.
  static Panel add_product(OperandPanel a, OperandPanel b, Panel sum) {
    return {_mm512_dpbf16_ps(sum.all, a.all, b.all)};
  }

  static void store_as_operands(Operand* to, Panel numbers) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), rounded(numbers.all));
  }
  /// Writes `count` consecutive numbers of a row as operands, and zeros up to the next multiple of 16 numbers.
  static void pack(const float* from, std::int64_t count, Operand* to) {
    for (std::int64_t first = 0; first < count; first += kPanelColumns, to += kPanelColumns / kNumbers) {
      store_as_operands(to, {_mm512_maskz_loadu_ps(present(count - first), from + first)});
    }
  }

  static void put(const float* from, std::int64_t count, std::int64_t filled, std::int64_t place, Operand* to) {
    for (std::int64_t first = 0; first < filled; first += kPanelColumns) {
      const __m512i numbers = low_halves(_mm512_maskz_loadu_ps(present(count - first), from + first));
      const __m512i before = _mm512_loadu_si512(to + first);
      _mm512_storeu_si512(to + first, place == 0 ? numbers : _mm512_or_si512(before, _mm512_slli_epi32(numbers, 16)));
    }
  }

  static void join(const float* first, const float* second, Operand* to) {
    __m512i pair = low_halves(_mm512_loadu_ps(first));
    if (second != nullptr) pair = _mm512_or_si512(pair, _mm512_slli_epi32(low_halves(_mm512_loadu_ps(second)), 16));
    _mm512_storeu_si512(to, pair);
  }

  /// Softmax takes powers of 2 of scores · log2(e).
  static constexpr float kScoreUnit = 1.44269504088896341F;
  /// 2^exponent to 3e-6 relative, which a rounding to bfloat16 (4e-3) follows: minimax polynomial on [0, 1), exact at
  /// whole exponents. 0 for −∞.
  static Panel power(Panel exponent) {
    constexpr float kCoefficients[] = {0.052242473F, 0.24128020F, 0.69304484F, 1.0F};
    const __m512 rest = _mm512_reduce_ps(exponent.all, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 polynomial = _mm512_set1_ps(0.013426685F);
    for (const float coefficient : kCoefficients) {
      polynomial = _mm512_fmadd_ps(polynomial, rest, _mm512_set1_ps(coefficient));
    }
    return {_mm512_scalef_ps(polynomial, exponent.all)};
  }

 private:
  static __m256i rounded(__m512 numbers) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(numbers)); }
  /// Each number in the low half of an operand of its own.
  static __m512i low_halves(__m512 numbers) { return _mm512_cvtepu16_epi32(rounded(numbers)); }
  /// The lanes that hold numbers when so many are left.
  static __mmask16 present(std::int64_t left) {
    if (left <= 0) return 0;
    return static_cast<__mmask16>(left < kPanelColumns ? (1U << static_cast<unsigned>(left)) - 1U : 0xFFFFU);
  }
};

#endif

/// Memory of a kernel while it runs, filled with zero bytes. No std::vector: a function of it that the compiler emits
/// for AVX-512 may be the one that the linker takes for the whole program. This one is another for each Arithmetic.
template <typename Arithmetic, typename T>
class Scratch {
 public:
  explicit Scratch(std::int64_t count)
      : data_(static_cast<T*>(::operator new(static_cast<std::size_t>(count) * sizeof(T), kAlignment))) {
    std::memset(data_, 0, static_cast<std::size_t>(count) * sizeof(T));
  }
  ~Scratch() { ::operator delete(data_, kAlignment); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_;
};

/// Operands that hold so many numbers.
template <typename Arithmetic>
constexpr std::int64_t operands(std::int64_t numbers) {
  return operand_count(Arithmetic::kType, numbers);
}

}  // namespace longrope
