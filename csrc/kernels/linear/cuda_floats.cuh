// Float rows of x on their way to a stage: read into registers while the stage before is
// multiplied, then normed, rounded and stored.
#pragma once

#include "kernels/layer_norm/cuda_row.cuh"
#include "kernels/linear/cuda_stage.cuh"

namespace tokenfuse::cuda {

// A warp's share of kRows rows by 32 columns: of each fourth row, four columns.
template <int kRows>
struct FloatStage {
  float values[kRows / 4][4];
  float weight[4], bias[4];  // of the norm

  TF_DEVICE static int column_of(int k) { return k + lane_index() % 8 * 4; }
  TF_DEVICE static int row_of(int i) { return 4 * i + lane_index() / 8; }

  TF_DEVICE void load(const LinearKernelArgs& args, int first, int k, int end) {
    const LinearArgs& a = args.linear;
    TF_UNROLL for (int i = 0; i < kRows / 4; ++i) {
      const int row = first + row_of(i);
      load_4(values[i], a.x32 + (row < a.m ? row : 0) * a.ldx, column_of(k), row < a.m ? end : 0,
             args.x_vectors, 0.0f);
    }
    if (a.norm == NormKind::kNone) return;
    load_4(weight, a.norm_weight, column_of(k), end, false, 0.0f);
    TF_UNROLL for (int j = 0; j < 4; ++j) bias[j] = 0.0f;
    if (a.norm == NormKind::kLayer) load_4(bias, a.norm_bias, column_of(k), end, false, 0.0f);
  }

  // Behind K the weight and the bias are 0, so the norm is too. Rows behind M, whose scale is never
  // computed, become anything: no other row is made of them.
  template <typename T>
  TF_DEVICE void store(const LinearArgs& a, unsigned char* stage, const RowScale* rows) const {
    TF_UNROLL for (int i = 0; i < kRows / 4; ++i) {
      const int row = row_of(i);
      float y[4];
      TF_UNROLL for (int j = 0; j < 4; ++j) {
        const float x = values[i][j];
        y[j] = a.norm == NormKind::kNone ? x : normed(x, rows[row], weight[j], bias[j]);
      }
      unsigned char* to = stage + chunk_offset(row, lane_index() % 8 / 2) + lane_index() % 2 * 8;
      store_4(reinterpret_cast<T*>(to), y);
    }
  }
};

}  // namespace tokenfuse::cuda
