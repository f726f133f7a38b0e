// The large tile: eight warps, 64 x 32 outputs each, go through the slices of K together
// (cuda_order.h).
#pragma once

#include "kernels/linear/cuda_stage.cuh"

namespace tokenfuse::cuda {

inline constexpr int kSequentialThreads = 256;

// Where a stage lies in K: stages do not cross slices.
struct SliceStage {
  int k, end;
  bool last;  // of its slice
};

TF_DEVICE SliceStage slice_stage(int stage, int stages_per_slice, int k) {
  const int slice = stage / stages_per_slice, within = stage - slice * stages_per_slice;
  const int begin = slice * slice_columns(k), slice_end = begin + slice_columns(k);
  const int end = slice_end < k ? slice_end : k, at = begin + within * kStageColumns;
  return {at, end, at + kStageColumns >= end};
}

template <typename T, int kTile>
TF_KERNEL void TF_LAUNCH_BOUNDS(kSequentialThreads, 1) linear_sequential(LinearKernelArgs args) {
  constexpr LinearTile kShape = kLinearTiles[kTile];
  constexpr int kRows = kShape.rows, kColumns = kShape.columns, kStages = kShape.num_stages;
  constexpr int kStageBytes = (kRows + kColumns) * kStageRowBytes;
  constexpr int kWarpRows = 64, kWarpColumns = 32;
  static_assert(kRows == 2 * kWarpRows && kColumns == 4 * kWarpColumns, "eight warps, 2 by 4");
  const LinearArgs& a = args.linear;
  const LinearOrigin origin = linear_origin<kRows, kColumns>(args);
  const int y_row = first_y_row(a);
  const int warp_row = warp_index() / 4 * kWarpRows;
  const int warp_column = warp_index() % 4 * kWarpColumns;

  const int per_slice = (slice_columns(a.k) + kStageColumns - 1) / kStageColumns;
  const int num_whole = (a.k - 1) / slice_columns(a.k),
            behind = a.k - num_whole * slice_columns(a.k);
  const int num_stages = num_whole * per_slice + (behind + kStageColumns - 1) / kStageColumns;
  const auto stage_of = [&](int stage) { return shared_memory() + stage % kStages * kStageBytes; };
  const auto copy = [&](int stage) {
    if (stage < num_stages) {
      const SliceStage s = slice_stage(stage, per_slice, a.k);
      unsigned char* to = stage_of(stage);
      copy_stage<kRows, kSequentialThreads>(to, static_cast<const T*>(a.x16), a.ldx, origin.row,
                                            a.m, s.k, s.end, thread_index());
      copy_stage<kColumns, kSequentialThreads>(to + kRows * kStageRowBytes,
                                               static_cast<const T*>(a.w), a.ldw, origin.column,
                                               a.n, s.k, s.end, thread_index());
    }
    // An empty group counts too, so that the waits below need no cases.
    copy_async_commit();
  };
  TF_UNROLL for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);

  float total[kWarpRows / 16][kWarpColumns / 8][4] = {};
  float c[kWarpRows / 16][kWarpColumns / 8][4] = {};
  for (int stage = 0; stage < num_stages; ++stage) {
    const SliceStage s = slice_stage(stage, per_slice, a.k);
    copy_async_wait<kStages - 2>();
    // The other threads' copies are there, and they have read the stage that is copied to next.
    sync_threads();
    copy(stage + kStages - 1);
    const unsigned char* x = stage_of(stage) + warp_row * kStageRowBytes;
    const unsigned char* w = stage_of(stage) + (kRows + warp_column) * kStageRowBytes;
    multiply_step<T>(c, x, w, 0);
    if (s.k + kStepColumns < s.end) multiply_step<T>(c, x, w, 1);
    if (!s.last) continue;
    TF_UNROLL for (int i = 0; i < kWarpRows / 16; ++i) {
      TF_UNROLL for (int j = 0; j < kWarpColumns / 8; ++j) {
        TF_UNROLL for (int e = 0; e < 4; ++e) {
          total[i][j][e] += c[i][j][e];
          c[i][j][e] = 0.0f;
        }
      }
    }
  }

  const int g = lane_index() / 4, t = lane_index() % 4;
  TF_UNROLL for (int i = 0; i < kWarpRows / 16; ++i) {
    TF_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = origin.row + warp_row + 16 * i + 8 * half + g;
      if (row >= a.m) continue;
      const LinearRow place = linear_row(a, row, y_row);
      TF_UNROLL for (int j = 0; j < kWarpColumns / 8; ++j) {
        finish_pair<T>(args, place, origin.column + warp_column + 8 * j + 2 * t,
                       total[i][j][2 * half], total[i][j][2 * half + 1]);
      }
    }
  }
}

}  // namespace tokenfuse::cuda
