// float16 bits to float32: exact, for every value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tokenfuse {

float half_to_float(std::uint16_t bits) noexcept;

// `count` of them, which may begin at any byte.
void halves_to_floats(const void* halves, std::size_t count, float* to) noexcept;

}  // namespace tokenfuse
