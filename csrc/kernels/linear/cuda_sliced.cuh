// The small tiles: a slice of K for each warp (cuda_order.h).
#pragma once

#include "kernels/linear/cuda_floats.cuh"
#include "kernels/linear/cuda_stage.cuh"

namespace tokenfuse::cuda {

inline constexpr int kSlicedThreads = kSlices * kWarpSize;

// The sums of all slices meet in shared memory, and each thread finishes some pairs of them.
template <typename T, int kRows, int kColumns, int kStride>
TF_DEVICE void add_slices(const LinearKernelArgs& args, const LinearOrigin& origin, int y_row,
                          const float (&c)[kRows / 16][kColumns / 8][4]) {
  auto* sums = reinterpret_cast<float*>(shared_memory());
  constexpr int kSliceFloats = kRows * kStride;
  float* own = sums + warp_index() * kSliceFloats;
  const int g = lane_index() / 4, t = lane_index() % 4;
  // Until all warps are done, their stages are here.
  sync_threads();
  TF_UNROLL for (int i = 0; i < kRows / 16; ++i) {
    TF_UNROLL for (int j = 0; j < kColumns / 8; ++j) {
      TF_UNROLL for (int half = 0; half < 2; ++half) {
        float* to = own + (16 * i + 8 * half + g) * kStride + 8 * j + 2 * t;
        *reinterpret_cast<TwoFloats*>(to) = {{c[i][j][2 * half], c[i][j][2 * half + 1]}};
      }
    }
  }
  sync_threads();
  for (int pair = thread_index(); pair < kRows * kColumns / 2; pair += kSlicedThreads) {
    const int row = pair / (kColumns / 2), column = pair % (kColumns / 2) * 2;
    if (origin.row + row >= args.linear.m) break;
    const float* from = sums + row * kStride + column;
    float low = from[0], high = from[1];
    TF_UNROLL for (int slice = 1; slice < kSlices; ++slice) {
      low += from[slice * kSliceFloats];
      high += from[slice * kSliceFloats + 1];
    }
    finish_pair<T>(args, linear_row(args.linear, origin.row + row, y_row), origin.column + column,
                   low, high);
  }
}

template <typename T, int kTile, bool kFloats>
TF_KERNEL void TF_LAUNCH_BOUNDS(kSlicedThreads, 1) linear_sliced(LinearKernelArgs args) {
  constexpr LinearTile kShape = kLinearTiles[kTile];
  constexpr int kRows = kShape.rows, kColumns = kShape.columns, kStages = kShape.num_stages;
  constexpr int kStageBytes = (kRows + kColumns) * kStageRowBytes;
  const LinearArgs& a = args.linear;
  const int lane = lane_index(), slice = warp_index();
  const LinearOrigin origin = linear_origin<kRows, kColumns>(args);
  const int y_row = first_y_row(a);
  const int begin = slice * slice_columns(a.k);
  const int slice_end = begin + slice_columns(a.k), end = slice_end < a.k ? slice_end : a.k;
  // The last slices of a short K are empty.
  const int num_steps = end > begin ? (end - begin + kStepColumns - 1) / kStepColumns : 0;
  const int num_stages = (num_steps + 1) / 2;

  unsigned char* ring = shared_memory() + slice * kStages * kStageBytes;
  const auto stage_of = [&](int stage) { return ring + stage % kStages * kStageBytes; };
  const auto copy = [&](int stage) {
    if (stage < num_stages) {
      const int k = begin + stage * kStageColumns;
      unsigned char* to = stage_of(stage);
      copy_stage<kColumns, kWarpSize>(to + kRows * kStageRowBytes, static_cast<const T*>(a.w),
                                      a.ldw, origin.column, a.n, k, end, lane);
      if (!kFloats) {
        copy_stage<kRows, kWarpSize>(to, static_cast<const T*>(a.x16), a.ldx, origin.row, a.m, k,
                                     end, lane);
      }
    }
    // An empty group counts too, so that the waits below need no cases.
    copy_async_commit();
  };
  TF_UNROLL for (int stage = 0; stage < kStages - 1; ++stage) copy(stage);

  FloatStage<kFloats ? kRows : 4> floats;
  auto* rows = reinterpret_cast<RowScale*>(shared_memory() + kSlices * kStages * kStageBytes);
  if (kFloats) {
    if (num_stages > 0) floats.load(args, origin.row, begin, end);
    if (a.norm != NormKind::kNone) {
      constexpr int kTogether = 4;
      for (int row = slice; row < kRows && origin.row + row < a.m; row += kTogether * kSlices) {
        RowScale scales[kTogether];
        row_scales(scales, a.x32, a.ldx, origin.row + row, kSlices, a.m, a.k,
                   a.norm == NormKind::kLayer, a.norm_eps, args.x_vectors);
        TF_UNROLL for (int r = 0; r < kTogether; ++r) {
          if (lane == 0) rows[row + r * kSlices] = scales[r];
        }
      }
      sync_threads();
    }
  }

  float c[kRows / 16][kColumns / 8][4] = {};
  for (int stage = 0; stage < num_stages; ++stage) {
    unsigned char* at = stage_of(stage);
    const int k = begin + stage * kStageColumns;
    if (kFloats) {
      floats.template store<T>(a, at, rows);
      if (stage + 1 < num_stages) floats.load(args, origin.row, k + kStageColumns, end);
    }
    copy_async_wait<kStages - 2>();
    // The other lanes' copies are there, and they have read the stage that is copied to next.
    sync_warp();
    copy(stage + kStages - 1);
    multiply_step<T>(c, at, at + kRows * kStageRowBytes, 0);
    if (2 * stage + 1 < num_steps) multiply_step<T>(c, at, at + kRows * kStageRowBytes, 1);
  }
  add_slices<T, kRows, kColumns, sum_stride(kShape)>(args, origin, y_row, c);
}

}  // namespace tokenfuse::cuda
