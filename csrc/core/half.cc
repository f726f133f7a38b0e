#include "core/half.h"

#include <cstring>

namespace tokenfuse {
namespace {

// All ones where the condition holds: a compiler makes vectors of masks, but not of branches.
inline std::uint32_t mask(bool condition) noexcept {
  return 0u - static_cast<std::uint32_t>(condition);
}

}  // namespace

float half_to_float(std::uint16_t bits) noexcept {
  constexpr std::uint32_t kOne = std::uint32_t{1} << 23;  // of the exponent
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t size = static_cast<std::uint32_t>(bits & 0x7FFFu) << 13;
  // A normal number is moved to its place: the bias is 127 instead of 15. Infinity and NaN keep
  // an exponent of all ones.
  const std::uint32_t normal = size + 112 * kOne + (mask(size >= 31 * kOne) & 112 * kOne);
  // A subnormal number has no leading one: it gets that of the smallest normal number, 2^-14,
  // which is taken off again and so shifts the rest into place.
  const std::uint32_t with_one = size + 113 * kOne, one = 113 * kOne;
  float rest, leading;
  std::memcpy(&rest, &with_one, sizeof(rest));
  std::memcpy(&leading, &one, sizeof(leading));
  rest -= leading;
  std::uint32_t subnormal;
  std::memcpy(&subnormal, &rest, sizeof(subnormal));
  const std::uint32_t is_small = mask(size < kOne);
  const std::uint32_t out = sign | (is_small & subnormal) | (~is_small & normal);
  float value;
  std::memcpy(&value, &out, sizeof(value));
  return value;
}

void halves_to_floats(const void* halves, std::size_t count, float* __restrict to) noexcept {
  const auto* __restrict from = static_cast<const unsigned char*>(halves);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, from + i * sizeof(bits), sizeof(bits));
    to[i] = half_to_float(bits);
  }
}

}  // namespace tokenfuse
