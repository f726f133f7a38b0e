// One 32-bit word as a "register": an integer sum, or a pair of 16-bit integers.
#pragma once

#include <cstdint>

#include "core/simd/scalar.h"

namespace tokenfuse::scalar {

struct Words {
  using V = scalar::V;
  using T = std::int32_t;

  static T zero() noexcept { return 0; }
  static T load(const std::int32_t* p) noexcept { return *p; }
  static void store(std::int32_t* p, T a) noexcept { *p = a; }
  static T set1(std::int32_t a) noexcept { return a; }
  static V::T to_float(T a) noexcept { return static_cast<float>(a); }
  // sum + low low' + high high', of 16-bit halves.
  static T dot(T sum, T a, T b) noexcept { return sum + low(a) * low(b) + high(a) * high(b); }
  // Integral values in -32768..32767: `low` and `high` as the halves of words.
  static T pair(V::T low, V::T high) noexcept {
    return static_cast<T>(static_cast<std::uint32_t>(integer(high)) << 16 |
                          (static_cast<std::uint32_t>(integer(low)) & 0xFFFFu));
  }
  // An integral value in -32768..32767 as 16 bits; NaN becomes some value.
  static void store_s16(std::int16_t* p, V::T a) noexcept {
    *p = static_cast<std::int16_t>(integer(a));
  }
  static void transpose(const std::int32_t* from, std::int64_t, std::int32_t* to) noexcept {
    *to = *from;
  }

 private:
  static std::int32_t low(T a) noexcept { return static_cast<std::int16_t>(a & 0xFFFF); }
  static std::int32_t high(T a) noexcept { return a >> 16; }
  static std::int32_t integer(float a) noexcept {
    return a == a ? static_cast<std::int32_t>(a) : 0;
  }
};

}  // namespace tokenfuse::scalar
