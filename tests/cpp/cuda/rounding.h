// What rounding to 16 bits may change.
#pragma once

#include "core/cuda/half_types.h"

namespace tokenfuse::test {

// Of the rounding to nearest: error / value, and the error below the normal numbers.
template <typename T>
struct Rounding;
template <>
struct Rounding<cuda::Half> {
  static constexpr double kShare = 0x1p-11, kLeast = 0x1p-25, kLargest = 65504.0;
  static constexpr cuda::Type kType = cuda::Type::kHalf;
};
template <>
struct Rounding<cuda::Bf16> {
  static constexpr double kShare = 0x1p-8, kLeast = 0x1p-134, kLargest = 0x1.fep127;
  static constexpr cuda::Type kType = cuda::Type::kBf16;
};

inline double unit_roundoff(cuda::Type type) {
  return type == cuda::Type::kHalf ? Rounding<cuda::Half>::kShare : Rounding<cuda::Bf16>::kShare;
}
inline double least_rounding(cuda::Type type) {
  return type == cuda::Type::kHalf ? Rounding<cuda::Half>::kLeast : Rounding<cuda::Bf16>::kLeast;
}

}  // namespace tokenfuse::test
