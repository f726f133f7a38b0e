// Eight floats in a register. Only files compiled with the AVX2 flags include this.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace tokenfuse::avx2 {

struct V {
  using T = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kNumRegisters = 16;

  static T zero() noexcept { return _mm256_setzero_ps(); }
  static T set1(float a) noexcept { return _mm256_set1_ps(a); }
  static T load(const float* p) noexcept { return _mm256_loadu_ps(p); }
  static void store(float* p, T a) noexcept { _mm256_storeu_ps(p, a); }
  static T add(T a, T b) noexcept { return _mm256_add_ps(a, b); }
  static T sub(T a, T b) noexcept { return _mm256_sub_ps(a, b); }
  static T mul(T a, T b) noexcept { return _mm256_mul_ps(a, b); }
  static T div(T a, T b) noexcept { return _mm256_div_ps(a, b); }
  static T fma(T a, T b, T c) noexcept { return _mm256_fmadd_ps(a, b, c); }
  // sum + a b into the register of the sum. As an instruction of our own: where all registers are
  // taken, GCC 12 moves sums to the stack and back.
  static T accumulate(T sum, T a, T b) noexcept {
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
  }
  // NaN in the second operand comes through.
  static T max(T a, T b) noexcept { return _mm256_max_ps(a, b); }
  static T min(T a, T b) noexcept { return _mm256_min_ps(a, b); }
  static T abs(T a) noexcept { return _mm256_andnot_ps(set1(-0.0f), a); }
  static T copy_sign(T a, T sign) noexcept {
    return _mm256_or_ps(abs(a), _mm256_and_ps(set1(-0.0f), sign));
  }
  // a where x < bound, else b.
  static T where_below(T x, T bound, T a, T b) noexcept {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, bound, _CMP_LT_OQ));
  }
  static T round(T a) noexcept {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // a * 2^n for an integral n in [-126, 127].
  static T scale_by_power(T a, T n) noexcept {
    const __m256i bits = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return mul(a, _mm256_castsi256_ps(_mm256_add_epi32(bits, _mm256_set1_epi32(127 << 23))));
  }
  static T load_n(const float* p, int n, float fill) noexcept {
    alignas(32) float lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : fill;
    return _mm256_load_ps(lanes);
  }
  static void store_n(float* p, T a, int n) noexcept {
    alignas(32) float lanes[kLanes];
    _mm256_store_ps(lanes, a);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
  // Integral values in -128..127 as bytes; NaN becomes some byte.
  static void store_s8(std::int8_t* p, T a) noexcept {
    const __m256i wide = _mm256_cvtps_epi32(a);
    const __m128i half =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(half, half));
  }
  // The first ones and the second ones of 8 pairs of bfloat16: they are the upper halves of
  // floats.
  static T first_bf16(const std::uint16_t* p) noexcept {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16));
  }
  static T second_bf16(const std::uint16_t* p) noexcept {
    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                         _mm256_set1_epi32(static_cast<int>(0xFFFF0000u))));
  }
  static float sum(T a) noexcept {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
  static float max_lane(T a) noexcept {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
};

}  // namespace tokenfuse::avx2
