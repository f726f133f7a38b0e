// What a block of merge_attention on a GPU does with its total: the result, or, where streams are
// split among blocks, a part in the workspace.
#pragma once

#include "kernels/merge_attention/cuda_pass.cuh"

namespace tokenfuse::cuda {

TF_DEVICE float lse_of(float max, float sum) { return fmaf(max, kLn2, logf(sum)); }

// The parts of a split merge in the workspace: sums (batch, splits, rows, width), then maxima and
// sums of weights (batch, splits, rows).
struct MergeParts {
  float *o, *max, *sum;
};
TF_DEVICE MergeParts merge_parts(const MergePassArgs& pass) {
  const std::int64_t rows =
      static_cast<std::int64_t>(pass.args.batch) * pass.splits * pass.args.rows;
  float* o = static_cast<float*>(pass.args.workspace);
  return {o, o + rows * pass.args.width, o + rows * (pass.args.width + 1)};
}

// put(row of the block, column, a, b) for two neighbours of the total each, where there are any.
template <typename Pass, typename Put>
TF_DEVICE void each_pair(const Pass& pass, Put put) {
  TF_UNROLL for (int m = 0; m < Pass::kRows / 16; ++m) {
    TF_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = 16 * m + pass.lane / 4 + 8 * half;
      if (pass.row0 + row >= pass.args.rows) continue;
      TF_UNROLL for (int n = 0; n < Pass::kColumns / 8; ++n) {
        const int column = pass.column0 + 8 * n + pass.lane % 4 * 2;
        if (column < pass.args.width) {
          put(row, column, pass.total[m][n][2 * half], pass.total[m][n][2 * half + 1]);
        }
      }
    }
  }
}

// put(row of the block, maximum, sum of weights) for each row that there is, by one lane.
template <typename Pass, typename Put>
TF_DEVICE void each_row(const Pass& pass, Put put) {
  TF_UNROLL for (int turn = 0; turn < Pass::kTurns; ++turn) {
    const int row = pass.row_of(turn);
    if (pass.lane % Pass::kLanesOfRow == 0 && pass.row0 + row < pass.args.rows) {
      put(row, pass.total_max[turn], pass.total_sum[turn]);
    }
  }
}

template <typename T, typename Pass>
TF_DEVICE void store_result(const Pass& pass) {
  const MergeAttentionArgs& args = pass.args;
  const std::int64_t first = static_cast<std::int64_t>(block_z()) * args.rows + pass.row0;
  float* inverses = pass.factors + 3 * Pass::kRows;
  each_row(pass, [&](int row, float max, float sum) {
    inverses[row] = inverse_of(sum);
    if (args.lse != nullptr) args.lse[first + row] = lse_of(max, sum);
  });
  sync_threads();
  each_pair(pass, [&](int row, int column, float a, float b) {
    const float inverse = inverses[row];
    T* to = static_cast<T*>(args.o) + (first + row) * args.width + column;
    *reinterpret_cast<std::uint32_t*>(to) = pack<T>(a * inverse, b * inverse);
  });
}

template <typename Pass>
TF_DEVICE void store_part(const Pass& pass) {
  const MergeParts parts = merge_parts(pass.pass);
  const std::int64_t part = static_cast<std::int64_t>(block_z()) * pass.pass.splits + block_y();
  const std::int64_t first = part * pass.args.rows + pass.row0;
  each_row(pass, [&](int row, float max, float sum) {
    parts.max[first + row] = max;
    parts.sum[first + row] = sum;
  });
  each_pair(pass, [&](int row, int column, float a, float b) {
    float* to = parts.o + (first + row) * pass.args.width + column;
    *reinterpret_cast<TwoFloats*>(to) = {{a, b}};
  });
}

}  // namespace tokenfuse::cuda
