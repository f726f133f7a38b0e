// Four floats in a register: any Armv8 in 64 bits. It needs no flags of its own.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace tokenfuse::neon {

struct V {
  using T = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kNumRegisters = 32;

  static T zero() noexcept { return vdupq_n_f32(0.0f); }
  static T set1(float a) noexcept { return vdupq_n_f32(a); }
  static T load(const float* p) noexcept { return vld1q_f32(p); }
  static void store(float* p, T a) noexcept { vst1q_f32(p, a); }
  static T add(T a, T b) noexcept { return vaddq_f32(a, b); }
  static T sub(T a, T b) noexcept { return vsubq_f32(a, b); }
  static T mul(T a, T b) noexcept { return vmulq_f32(a, b); }
  static T div(T a, T b) noexcept { return vdivq_f32(a, b); }
  static T fma(T a, T b, T c) noexcept { return vfmaq_f32(c, a, b); }
  // The same; a name of its own for sums that must stay in their registers.
  static T accumulate(T sum, T a, T b) noexcept { return vfmaq_f32(sum, a, b); }
  // The number where the first operand is NaN; a NaN in the second one comes through.
  static T max(T a, T b) noexcept { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static T min(T a, T b) noexcept { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static T abs(T a) noexcept { return vabsq_f32(a); }
  static T copy_sign(T a, T sign) noexcept { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, a); }
  // a where x < bound, else b.
  static T where_below(T x, T bound, T a, T b) noexcept {
    return vbslq_f32(vcltq_f32(x, bound), a, b);
  }
  static T round(T a) noexcept { return vrndnq_f32(a); }
  // a * 2^n for an integral n in [-126, 127]. NaN has the integer 0: it is in `a` already.
  static T scale_by_power(T a, T n) noexcept {
    const int32x4_t bits = vshlq_n_s32(vcvtq_s32_f32(n), 23);
    return mul(a, vreinterpretq_f32_s32(vaddq_s32(bits, vdupq_n_s32(127 << 23))));
  }
  static T load_n(const float* p, int n, float fill) noexcept {
    float lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : fill;
    return vld1q_f32(lanes);
  }
  static void store_n(float* p, T a, int n) noexcept {
    float lanes[kLanes];
    vst1q_f32(lanes, a);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
  // Integral values in -128..127 as bytes; NaN becomes 0.
  static void store_s8(std::int8_t* p, T a) noexcept {
    const int16x4_t half = vqmovn_s32(vcvtq_s32_f32(a));
    const int8x8_t bytes = vqmovn_s16(vcombine_s16(half, half));
    const std::uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
    std::memcpy(p, &four, sizeof(four));
  }
  // The first ones and the second ones of 4 pairs of bfloat16: they are the upper halves of
  // floats.
  static T first_bf16(const std::uint16_t* p) noexcept {
    return vreinterpretq_f32_u32(vshlq_n_u32(pairs_of(p), 16));
  }
  static T second_bf16(const std::uint16_t* p) noexcept {
    return vreinterpretq_f32_u32(vandq_u32(pairs_of(p), vdupq_n_u32(0xFFFF0000u)));
  }
  static float sum(T a) noexcept { return vaddvq_f32(a); }
  static float max_lane(T a) noexcept { return vmaxvq_f32(a); }

 private:
  static uint32x4_t pairs_of(const std::uint16_t* p) noexcept {
    return vreinterpretq_u32_u16(vld1q_u16(p));
  }
};

}  // namespace tokenfuse::neon
