#include "core/half.h"

#include <cstring>

namespace tokenfuse {
namespace {

// Without a branch, so that a loop over it becomes vectors.
inline float widen(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t size = static_cast<std::uint32_t>(bits & 0x7FFFu) << 13;
  // A normal number is moved to its place: the bias is 127 instead of 15.
  std::uint32_t wide = size + (std::uint32_t{112} << 23);
  // Infinity and NaN keep an exponent of all ones.
  wide += size >= std::uint32_t{0x1F} << 23 ? std::uint32_t{112} << 23 : 0;
  // A subnormal one has no leading one: it is put there with the exponent of the smallest normal
  // number, 2^-14, and taken off again, which shifts the rest into place.
  const std::uint32_t with_one = size + (std::uint32_t{113} << 23);
  const std::uint32_t one = std::uint32_t{113} << 23;
  float padded, leading;
  std::memcpy(&padded, &with_one, sizeof(padded));
  std::memcpy(&leading, &one, sizeof(leading));
  padded -= leading;
  std::uint32_t small;
  std::memcpy(&small, &padded, sizeof(small));
  const std::uint32_t out = (size < std::uint32_t{1} << 23 ? small : wide) | sign;
  float value;
  std::memcpy(&value, &out, sizeof(value));
  return value;
}

}  // namespace

float half_to_float(std::uint16_t bits) noexcept { return widen(bits); }

void halves_to_floats(const void* halves, std::size_t count, float* to) noexcept {
  const auto* from = static_cast<const unsigned char*>(halves);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, from + i * sizeof(bits), sizeof(bits));
    to[i] = widen(bits);
  }
}

}  // namespace tokenfuse
