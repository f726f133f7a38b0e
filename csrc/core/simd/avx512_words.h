// Sixteen 32-bit words in a register: integer sums, or pairs of 16-bit integers. Only files
// compiled with the AVX-512 flags include this.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "core/simd/avx512.h"

namespace tokenfuse::avx512 {

struct Words {
  using V = avx512::V;
  using T = __m512i;

  static T zero() noexcept { return _mm512_setzero_si512(); }
  static T load(const std::int32_t* p) noexcept { return _mm512_loadu_si512(p); }
  static void store(std::int32_t* p, T a) noexcept { _mm512_storeu_si512(p, a); }
  static T set1(std::int32_t a) noexcept { return _mm512_set1_epi32(a); }
  static V::T to_float(T a) noexcept { return _mm512_cvtepi32_ps(a); }
  // sum + low low' + high high', of 16-bit halves.
  static T dot(T sum, T a, T b) noexcept { return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)); }
  // Integral values in -32768..32767: `low` and `high` as the halves of words.
  static T pair(V::T low, V::T high) noexcept {
    return _mm512_mask_blend_epi16(0xAAAAAAAAu, _mm512_cvtps_epi32(low),
                                   _mm512_slli_epi32(_mm512_cvtps_epi32(high), 16));
  }
  // Integral values in -32768..32767 as 16 bits each; NaN becomes some value.
  static void store_s16(std::int16_t* p, V::T a) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a)));
  }
  // 16 rows of 16 words, `stride` apart, to 16 dense rows of their columns.
  static void transpose(const std::int32_t* from, std::int64_t stride, std::int32_t* to) noexcept {
    T r[16], t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = load(from + i * stride);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
      r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
      r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
      r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // 128-bit lane l of r[4 i + j] is rows 4 i .. 4 i + 3 of column 4 l + j.
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const T even_low = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
      const T even_high = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
      const T odd_low = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xDD);
      const T odd_high = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xDD);
      store(to + 16 * j, _mm512_shuffle_i32x4(even_low, even_high, 0x88));
      store(to + 16 * (4 + j), _mm512_shuffle_i32x4(odd_low, odd_high, 0x88));
      store(to + 16 * (8 + j), _mm512_shuffle_i32x4(even_low, even_high, 0xDD));
      store(to + 16 * (12 + j), _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD));
    }
  }
};

}  // namespace tokenfuse::avx512
