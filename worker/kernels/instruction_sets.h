#pragma once

// Sixteen floats at once, on one AVX-512 register or on two of AVX2. Both give the same bits: lane i of one is lane i
// of the other, and sums over lanes follow one tree. Include only in sources compiled for that instruction set.

#include <immintrin.h>

#include <cstdint>

namespace longrope {

#ifdef __AVX512F__

struct Avx512 {
  static constexpr const char* kName = "AVX-512";
  // One block of a product: 24 of 32 registers hold its sums. Two panels, since each factor of a row is read from
  // memory once for all of them.
  static constexpr int kRows = 12;
  static constexpr int kPanels = 2;

  struct Panel {
    __m512 all;
  };
  static Panel load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static void store(float* to, Panel a) { _mm512_storeu_ps(to, a.all); }
  static Panel broadcast(float value) { return {_mm512_set1_ps(value)}; }
  static Panel add(Panel a, Panel b) { return {_mm512_add_ps(a.all, b.all)}; }
  static Panel subtract(Panel a, Panel b) { return {_mm512_sub_ps(a.all, b.all)}; }
  static Panel multiply(Panel a, Panel b) { return {_mm512_mul_ps(a.all, b.all)}; }
  static Panel divide(Panel a, Panel b) { return {_mm512_div_ps(a.all, b.all)}; }
  static Panel multiply_add(Panel a, Panel b, Panel c) { return {_mm512_fmadd_ps(a.all, b.all, c.all)}; }
  /// The larger; b where either is not a number.
  static Panel maximum(Panel a, Panel b) { return {_mm512_max_ps(a.all, b.all)}; }
  static Panel minimum(Panel a, Panel b) { return {_mm512_min_ps(a.all, b.all)}; }
  static Panel round(Panel a) { return {_mm512_roundscale_ps(a.all, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
  /// a · 2^exponent for whole exponents that keep it normal.
  static Panel scale_by_power_of_two(Panel a, Panel exponent) {
    const __m512i shifted = _mm512_slli_epi32(_mm512_cvtps_epi32(exponent.all), 23);
    return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.all), shifted))};
  }
  /// 0 where a < bound, else b.
  static Panel zero_below(Panel a, Panel bound, Panel b) {
    return {_mm512_mask_mov_ps(b.all, _mm512_cmp_ps_mask(a.all, bound.all, _CMP_LT_OQ), _mm512_setzero_ps())};
  }
  static __m256 low(Panel a) { return _mm512_castps512_ps256(a.all); }
  static __m256 high(Panel a) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.all), 1)); }
};

#endif

#ifdef __AVX2__

struct Avx2 {
  static constexpr const char* kName = "AVX2";
  // One block of a product: 12 of 16 registers hold its sums.
  static constexpr int kRows = 6;
  static constexpr int kPanels = 1;

  struct Panel {
    __m256 low;
    __m256 high;
  };
  static Panel load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  static void store(float* to, Panel a) {
    _mm256_storeu_ps(to, a.low);
    _mm256_storeu_ps(to + 8, a.high);
  }
  static Panel broadcast(float value) {
    const __m256 all = _mm256_set1_ps(value);
    return {all, all};
  }
  static Panel add(Panel a, Panel b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static Panel subtract(Panel a, Panel b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  static Panel multiply(Panel a, Panel b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static Panel divide(Panel a, Panel b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  static Panel multiply_add(Panel a, Panel b, Panel c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static Panel maximum(Panel a, Panel b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
  static Panel minimum(Panel a, Panel b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
  static Panel round(Panel a) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.low, kNearest), _mm256_round_ps(a.high, kNearest)};
  }
  static Panel scale_by_power_of_two(Panel a, Panel exponent) {
    const auto scaled = [](__m256 value, __m256 power) {
      const __m256i shifted = _mm256_slli_epi32(_mm256_cvtps_epi32(power), 23);
      return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), shifted));
    };
    return {scaled(a.low, exponent.low), scaled(a.high, exponent.high)};
  }
  static Panel zero_below(Panel a, Panel bound, Panel b) {
    return {_mm256_andnot_ps(_mm256_cmp_ps(a.low, bound.low, _CMP_LT_OQ), b.low),
            _mm256_andnot_ps(_mm256_cmp_ps(a.high, bound.high, _CMP_LT_OQ), b.high)};
  }
  static __m256 low(Panel a) { return a.low; }
  static __m256 high(Panel a) { return a.high; }
};

#endif

/// Sum over lanes: i + (i + 8), then + 4, + 2, + 1.
template <typename Isa>
float sum_of(typename Isa::Panel a) {
  const __m256 eight = _mm256_add_ps(Isa::low(a), Isa::high(a));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

template <typename Isa>
float largest_of(typename Isa::Panel a) {
  const __m256 eight = _mm256_max_ps(Isa::low(a), Isa::high(a));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/// exp(x) to 2 units in the last place; 0 below −87.3 (the smallest normal number), not a number stays so, and values
/// above 88 count as 88. Argument reduction and polynomial of Cephes' expf.
template <typename Isa>
typename Isa::Panel exponential(typename Isa::Panel x) {
  using Panel = typename Isa::Panel;
  constexpr float kSmallest = -87.33F;
  constexpr float kLargest = 88.0F;
  const Panel lower = Isa::broadcast(kSmallest);
  const Panel bounded = Isa::minimum(Isa::broadcast(kLargest), Isa::maximum(lower, x));
  const Panel power = Isa::round(Isa::multiply(bounded, Isa::broadcast(1.44269504088896341F)));  // · 1/ln 2
  // ln 2 in two parts, the first exact in few bits: power · 0.693359375 has no rounding.
  Panel rest = Isa::multiply_add(power, Isa::broadcast(-0.693359375F), bounded);
  rest = Isa::multiply_add(power, Isa::broadcast(2.12194440e-4F), rest);
  constexpr float kCoefficients[] = {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F,
                                     5.0000001201e-1F};
  Panel polynomial = Isa::broadcast(1.9875691500e-4F);
  for (const float coefficient : kCoefficients) {
    polynomial = Isa::multiply_add(polynomial, rest, Isa::broadcast(coefficient));
  }
  const Panel result = Isa::add(Isa::multiply_add(polynomial, Isa::multiply(rest, rest), rest), Isa::broadcast(1.0F));
  return Isa::zero_below(x, lower, Isa::scale_by_power_of_two(result, power));
}

}  // namespace longrope
