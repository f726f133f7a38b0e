// Eight 32-bit words in a register: integer sums, or pairs of 16-bit integers. Only files compiled
// with the AVX2 flags include this.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "core/simd/avx2.h"

namespace tokenfuse::avx2 {

struct Words {
  using V = avx2::V;
  using T = __m256i;

  static T zero() noexcept { return _mm256_setzero_si256(); }
  static T load(const std::int32_t* p) noexcept {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store(std::int32_t* p, T a) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a);
  }
  static T set1(std::int32_t a) noexcept { return _mm256_set1_epi32(a); }
  static V::T to_float(T a) noexcept { return _mm256_cvtepi32_ps(a); }
  // sum + low low' + high high', of 16-bit halves.
  static T dot(T sum, T a, T b) noexcept { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
  // Integral values in -32768..32767: `low` and `high` as the halves of words.
  static T pair(V::T low, V::T high) noexcept {
    return _mm256_blend_epi16(_mm256_cvtps_epi32(low),
                              _mm256_slli_epi32(_mm256_cvtps_epi32(high), 16), 0xAA);
  }
  // Integral values in -32768..32767 as 16 bits each; NaN becomes some value.
  static void store_s16(std::int16_t* p, V::T a) noexcept {
    const __m256i wide = _mm256_cvtps_epi32(a);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
  }
  // 8 rows of 8 words, `stride` apart, to 8 dense rows of their columns.
  static void transpose(const std::int32_t* from, std::int64_t stride, std::int32_t* to) noexcept {
    T r[8], t[8];
    for (int i = 0; i < 8; ++i) r[i] = load(from + i * stride);
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
      t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
      r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
      r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
      r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // 128-bit lane l of r[4 i + j] is rows 4 i .. 4 i + 3 of column 4 l + j.
    for (int j = 0; j < 4; ++j) {
      store(to + 8 * j, _mm256_permute2x128_si256(r[j], r[4 + j], 0x20));
      store(to + 8 * (4 + j), _mm256_permute2x128_si256(r[j], r[4 + j], 0x31));
    }
  }
};

}  // namespace tokenfuse::avx2
