// What kernels with a streamed softmax share. Scores are in powers of 2.
//
// A sum of terms 2^(t - max) is kept with its maximum; sums that are joined come to the larger one.
// Every product that is added to is an fmaf of its own: the compiler has no choice that could give
// two kernels different bits.
#pragma once

#include <cmath>

#include "core/cuda/vectors.h"

namespace tokenfuse::cuda {

inline constexpr float kLog2e = 1.44269504088896340736f;
inline constexpr float kLn2 = 0.69314718055994530942f;

TF_DEVICE float lowest() { return -INFINITY; }

// A maximum that NaN does not become: its row is NaN by the sums.
TF_DEVICE float larger(float a, float b) { return b > a ? b : a; }

// What is subtracted before 2^t: of a row without any term, 0, as -inf - -inf is NaN.
TF_DEVICE float shift_of(float max) { return max == lowest() ? 0.0f : max; }

// Factors of two sums with the maxima a and b, in the sum of both.
struct Join {
  float max, a, b;
};
TF_DEVICE Join join_of(float a, float b) {
  const float max = larger(a, b), shift = shift_of(max);
  return {max, exp2_fast(a - shift), exp2_fast(b - shift)};
}
TF_DEVICE float joined(float a, float b, const Join& by) { return fmaf(b, by.b, a * by.a); }

// Not "sum > 0": a NaN must come through.
TF_DEVICE float inverse_of(float sum) { return sum == 0.0f ? 0.0f : 1.0f / sum; }

}  // namespace tokenfuse::cuda
