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
// finds the rows in the first-level cache. The order of a row's sums depends on n alone. Rows are
// taken together, since each alone would wait for memory and for the warp's sums twice: rows
// first, first + step, ... below `end`; what the others get is of no row.
template <int kCount>
TF_DEVICE void row_scales(RowScale (&scales)[kCount], const float* rows, std::int64_t stride,
                          int first, int step, int end, int n, bool centred, float eps,
                          bool vectors) {
  constexpr int kStride = 4 * kWarpSize;
  const int begin = 4 * lane_index();
  const float count = static_cast<float>(n);
  const float* row[kCount];
  int length[kCount];
  float mean[kCount] = {}, sum[kCount] = {}, square[kCount] = {};
  TF_UNROLL for (int r = 0; r < kCount; ++r) {
    const bool there = first + r * step < end;
    row[r] = rows + (there ? first + r * step : first) * stride;
    length[r] = there ? n : 0;
  }
  if (centred) {
    for (int column = begin; column < n; column += kStride) {
      float x[kCount][4];
      TF_UNROLL for (int r = 0; r < kCount; ++r) {
        load_4(x[r], row[r], column, length[r], vectors, 0.0f);
      }
      TF_UNROLL for (int r = 0; r < kCount; ++r) {
        sum[r] += (x[r][0] + x[r][1]) + (x[r][2] + x[r][3]);
      }
    }
    TF_UNROLL for (int r = 0; r < kCount; ++r) mean[r] = warp_sum(sum[r]) / count;
  }
  for (int column = begin; column < n; column += kStride) {
    float x[kCount][4];
    TF_UNROLL for (int r = 0; r < kCount; ++r) {
      // Behind the row lies its mean, which is 0 once centred.
      load_4(x[r], row[r], column, length[r], vectors, mean[r]);
    }
    TF_UNROLL for (int r = 0; r < kCount; ++r) {
      TF_UNROLL for (int i = 0; i < 4; ++i) {
        square[r] = fmaf(x[r][i] - mean[r], x[r][i] - mean[r], square[r]);
      }
    }
  }
  TF_UNROLL for (int r = 0; r < kCount; ++r) {
    scales[r] = {mean[r], 1.0f / sqrtf(warp_sum(square[r]) / count + eps)};
  }
}

// Multiply-adds are written out wherever kernels must agree bit by bit: left to the compiler, it
// may fuse them in one kernel and not in another.
TF_DEVICE float normed(float x, const RowScale& row, float weight, float bias) {
  return fmaf((x - row.mean) * row.scale, weight, bias);
}

}  // namespace tokenfuse::cuda
