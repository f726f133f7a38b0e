// Four 32-bit words in a register: integer sums, or pairs of 16-bit integers.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "core/simd/neon.h"

namespace tokenfuse::neon {

struct Words {
  using V = neon::V;
  using T = int32x4_t;

  static T zero() noexcept { return vdupq_n_s32(0); }
  static T load(const std::int32_t* p) noexcept { return vld1q_s32(p); }
  static void store(std::int32_t* p, T a) noexcept { vst1q_s32(p, a); }
  static T set1(std::int32_t a) noexcept { return vdupq_n_s32(a); }
  static V::T to_float(T a) noexcept { return vcvtq_f32_s32(a); }
  // sum + low low' + high high', of 16-bit halves.
  static T dot(T sum, T a, T b) noexcept {
    const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    const int32x4_t first = vmull_s16(vget_low_s16(x), vget_low_s16(y));
    const int32x4_t second = vmull_high_s16(x, y);
    return vaddq_s32(sum, vpaddq_s32(first, second));
  }
  // Integral values in -32768..32767: `low` and `high` as the halves of words.
  static T pair(V::T low, V::T high) noexcept {
    return vsliq_n_s32(vcvtq_s32_f32(low), vcvtq_s32_f32(high), 16);
  }
  // Integral values in -32768..32767 as 16 bits each; NaN becomes 0.
  static void store_s16(std::int16_t* p, V::T a) noexcept {
    vst1_s16(p, vqmovn_s32(vcvtq_s32_f32(a)));
  }
  // 4 rows of 4 words, `stride` apart, to 4 dense rows of their columns.
  static void transpose(const std::int32_t* from, std::int64_t stride, std::int32_t* to) noexcept {
    int32x4x4_t rows;
    for (int i = 0; i < 4; ++i) rows.val[i] = load(from + i * stride);
    // Writes the first word of each row, then the second ones, and so on.
    vst4q_s32(to, rows);
  }
};

}  // namespace tokenfuse::neon
