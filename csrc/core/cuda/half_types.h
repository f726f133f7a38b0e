// Half and Bf16 to and from float on the host, exactly as a GPU does it.
#pragma once

#include <cstring>

#include "core/cuda/types.h"
#include "core/half.h"

namespace tokenfuse::cuda {

inline std::uint32_t float_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float bits_float(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float to_float(Bf16 value) {
  return bits_float(static_cast<std::uint32_t>(value.bits) << 16);
}

inline float to_float(Half value) { return half_to_float(value.bits); }

template <typename T>
T from_float(float value);

// To nearest, ties to even.
template <>
inline Bf16 from_float<Bf16>(float value) {
  const std::uint32_t bits = float_bits(value);
  if (value != value) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

// The same, and beyond the largest number to it, infinity too.
template <>
inline Half from_float<Half>(float value) {
  if (value != value) return {0x7fff};
  const std::uint16_t sign = static_cast<std::uint16_t>(float_bits(value) >> 16 & 0x8000u);
  float magnitude = bits_float(float_bits(value) & 0x7fffffffu);
  if (magnitude > 65504.0f) magnitude = 65504.0f;
  if (magnitude < 0x1p-14f) {
    // A multiple of 2^-24 below 2^-14: adding 0.5, whose last place is 2^-24, rounds to it.
    return {static_cast<std::uint16_t>(sign | (float_bits(magnitude + 0.5f) - float_bits(0.5f)))};
  }
  const std::uint32_t bits = float_bits(magnitude);
  const std::uint32_t rounded = bits + 0xfffu + (bits >> 13 & 1u);
  return {static_cast<std::uint16_t>(sign | ((rounded - (112u << 23)) >> 13))};
}

}  // namespace tokenfuse::cuda
