// One float as a "register": the portable variant, a peer of the others.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace tokenfuse::scalar {

struct V {
  using T = float;
  static constexpr int kLanes = 1;
  static constexpr int kNumRegisters = 16;

  static T zero() noexcept { return 0.0f; }
  static T set1(float a) noexcept { return a; }
  static T load(const float* p) noexcept { return *p; }
  static void store(float* p, T a) noexcept { *p = a; }
  static T add(T a, T b) noexcept { return a + b; }
  static T sub(T a, T b) noexcept { return a - b; }
  static T mul(T a, T b) noexcept { return a * b; }
  static T div(T a, T b) noexcept { return a / b; }
  static T fma(T a, T b, T c) noexcept { return a * b + c; }
  static T accumulate(T sum, T a, T b) noexcept { return a * b + sum; }
  // NaN in the second operand comes through, as in the vector variants.
  static T max(T a, T b) noexcept { return a > b ? a : b; }
  static T min(T a, T b) noexcept { return a < b ? a : b; }
  static T abs(T a) noexcept { return std::fabs(a); }
  static T copy_sign(T a, T sign) noexcept { return std::copysign(a, sign); }
  static T where_below(T x, T bound, T a, T b) noexcept { return x < bound ? a : b; }
  static T round(T a) noexcept { return std::nearbyintf(a); }
  static T scale_by_power(T a, T n) noexcept {
    // A NaN has no integer: it is in `a` already.
    return n == n ? std::ldexp(a, static_cast<int>(n)) : a;
  }
  static T load_n(const float* p, int n, float fill) noexcept { return n > 0 ? *p : fill; }
  static void store_n(float* p, T a, int n) noexcept {
    if (n > 0) *p = a;
  }
  // An integral value in -128..127 as a byte; NaN becomes some byte.
  static void store_s8(std::int8_t* p, T a) noexcept {
    *p = a == a ? static_cast<std::int8_t>(a) : std::int8_t{0};
  }
  // The first and the second of a pair of bfloat16.
  static T first_bf16(const std::uint16_t* p) noexcept { return widened(p[0]); }
  static T second_bf16(const std::uint16_t* p) noexcept { return widened(p[1]); }
  static float sum(T a) noexcept { return a; }
  static float max_lane(T a) noexcept { return a; }

 private:
  static float widened(std::uint16_t half) noexcept {
    const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
};

}  // namespace tokenfuse::scalar
