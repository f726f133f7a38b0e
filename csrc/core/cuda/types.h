// The two 16-bit types: bits alone, so that host and device agree on their layout.
#pragma once

#include <cstdint>

namespace tokenfuse::cuda {

struct Half {
  std::uint16_t bits;
};

struct Bf16 {
  std::uint16_t bits;
};

enum class Type { kHalf, kBf16 };

}  // namespace tokenfuse::cuda
