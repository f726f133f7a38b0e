// Sixteen floats in a register. Only files compiled with the AVX-512 flags include this.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tokenfuse::avx512 {

struct V {
  using T = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kNumRegisters = 32;

  static T zero() noexcept { return _mm512_setzero_ps(); }
  static T set1(float a) noexcept { return _mm512_set1_ps(a); }
  static T load(const float* p) noexcept { return _mm512_loadu_ps(p); }
  static void store(float* p, T a) noexcept { _mm512_storeu_ps(p, a); }
  static T add(T a, T b) noexcept { return _mm512_add_ps(a, b); }
  static T sub(T a, T b) noexcept { return _mm512_sub_ps(a, b); }
  static T mul(T a, T b) noexcept { return _mm512_mul_ps(a, b); }
  static T div(T a, T b) noexcept { return _mm512_div_ps(a, b); }
  static T fma(T a, T b, T c) noexcept { return _mm512_fmadd_ps(a, b, c); }
  // sum + a b into the register of the sum. As an instruction of our own: where all registers are
  // taken, GCC 12 moves sums to the stack and back.
  static T accumulate(T sum, T a, T b) noexcept {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }
  // NaN in the second operand comes through.
  static T max(T a, T b) noexcept { return _mm512_max_ps(a, b); }
  static T min(T a, T b) noexcept { return _mm512_min_ps(a, b); }
  static T abs(T a) noexcept { return _mm512_abs_ps(a); }
  static T copy_sign(T a, T sign) noexcept {
    return _mm512_or_ps(abs(a), _mm512_and_ps(set1(-0.0f), sign));
  }
  // a where x < bound, else b.
  static T where_below(T x, T bound, T a, T b) noexcept {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, bound, _CMP_LT_OQ), b, a);
  }
  static T round(T a) noexcept {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // a * 2^n for an integral n.
  static T scale_by_power(T a, T n) noexcept { return _mm512_scalef_ps(a, n); }
  static T load_n(const float* p, int n, float fill) noexcept {
    return _mm512_mask_loadu_ps(set1(fill), mask(n), p);
  }
  static void store_n(float* p, T a, int n) noexcept { _mm512_mask_storeu_ps(p, mask(n), a); }
  // Integral values in -128..127 as bytes; NaN becomes some byte.
  static void store_s8(std::int8_t* p, T a) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
  }
  // The first ones and the second ones of 16 pairs of bfloat16: they are the upper halves of
  // floats.
  static T first_bf16(const std::uint16_t* p) noexcept {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
  }
  static T second_bf16(const std::uint16_t* p) noexcept {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }
  static float sum(T a) noexcept { return _mm512_reduce_add_ps(a); }
  static float max_lane(T a) noexcept { return _mm512_reduce_max_ps(a); }

 private:
  static __mmask16 mask(int n) noexcept { return static_cast<__mmask16>((1u << n) - 1u); }
};

}  // namespace tokenfuse::avx512
