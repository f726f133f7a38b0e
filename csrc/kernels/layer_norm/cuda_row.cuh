// What one row needs before it is normed: shared by `norm` and by the linear that norms its input,
// so that both give the same bits.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/cuda/vectors.h"

namespace tokenfuse::cuda {

// (x - mean) * scale is the normed value; mean is 0 for an RMS norm.
struct RowScale {
  float mean, scale;
};

// A collective of a warp. Two passes, as the variance is that of the centred values; the second one
// finds the row in the first-level cache. The order of the sums depends on n alone.
TF_DEVICE RowScale row_scale(const float* row, int n, bool centred, float eps, bool vectors) {
  constexpr int kStride = 4 * kWarpSize;
  const int first = 4 * lane_index();
  const float count = static_cast<float>(n);
  float mean = 0.0f;
  if (centred) {
    float sum = 0.0f;
    for (int column = first; column < n; column += kStride) {
      float x[4];
      load_4(x, row, column, n, vectors, 0.0f);
      sum += (x[0] + x[1]) + (x[2] + x[3]);
    }
    mean = warp_sum(sum) / count;
  }
  float square = 0.0f;
  for (int column = first; column < n; column += kStride) {
    float x[4];
    // Behind the row lies its mean, which is 0 once centred.
    load_4(x, row, column, n, vectors, mean);
    TF_UNROLL for (int i = 0; i < 4; ++i) square = fmaf(x[i] - mean, x[i] - mean, square);
  }
  return {mean, 1.0f / sqrtf(warp_sum(square) / count + eps)};
}

// Multiply-adds are written out wherever kernels must agree bit by bit: left to the compiler, it
// may fuse them in one kernel and not in another.
TF_DEVICE float normed(float x, const RowScale& row, float weight, float bias) {
  return fmaf((x - row.mean) * row.scale, weight, bias);
}

}  // namespace tokenfuse::cuda
