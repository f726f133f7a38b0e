// Stages of x and w in shared memory, and the product of a step of them.
#pragma once

#include "core/cuda/device.h"
#include "kernels/linear/cuda_finish.cuh"
#include "kernels/linear/cuda_order.h"

namespace tokenfuse::cuda {

// The 16 bytes `chunk` of a row. Two rows fill the 32 banks; chunks change places every two rows,
// so that any chunk of 8 neighbouring rows, which a matrix load reads at once, is in all banks.
TF_DEVICE int chunk_offset(int row, int chunk) {
  return row * kStageRowBytes + (chunk ^ row / 2 % 4) * 16;
}

// Columns [k, k + 32) of rows [first, first + kRows), zeros for rows behind `num_rows` and columns
// behind `end`, by kThreads threads. Behind the end of K are up to 7 columns that w has zeros for.
template <int kRows, int kThreads, typename T>
TF_DEVICE void copy_stage(unsigned char* stage, const T* from, std::int64_t stride, int first,
                          int num_rows, int k, int end, int thread) {
  TF_UNROLL for (int i = 0; i < kRows * 4; i += kThreads) {
    const int row = (i + thread) / 4, chunk = (i + thread) % 4, column = k + 8 * chunk;
    const bool valid = first + row < num_rows && column < end;
    copy_async(stage + chunk_offset(row, chunk), from + (first + row) * stride + column, valid);
  }
}

// c += x w^T over 16 columns of K: `step` 0 or 1 of a stage, 16 kM rows of x by 8 kN rows of w.
template <typename T, int kM, int kN>
TF_DEVICE void multiply_step(float (&c)[kM][kN][4], const unsigned char* x, const unsigned char* w,
                             int step) {
  const int lane = lane_index();
  std::uint32_t a[kM][4];
  TF_UNROLL for (int i = 0; i < kM; ++i) {
    load_matrices_x4(a[i], x + chunk_offset(16 * i + lane % 16, 2 * step + lane / 16));
  }
  TF_UNROLL for (int j = 0; j < kN / 2; ++j) {
    // Rows 0 to 7 of w with columns 0 to 7 and 8 to 15, then rows 8 to 15.
    std::uint32_t b[4];
    const int row = 16 * j + lane / 16 * 8 + lane % 8;
    load_matrices_x4(b, w + chunk_offset(row, 2 * step + lane / 8 % 2));
    TF_UNROLL for (int i = 0; i < kM; ++i) {
      multiply_add<T>(c[i][2 * j], a[i], b);
      multiply_add<T>(c[i][2 * j + 1], a[i], b + 2);
    }
  }
}

// The block's tile: those that share the rows of the larger operand come behind each other, so
// that it is read from memory once, and the smaller one stays in the cache.
struct LinearOrigin {
  int row, column;
};

template <int kRows, int kColumns>
TF_DEVICE LinearOrigin linear_origin(const LinearKernelArgs& args) {
  const bool rows_first = args.linear.m <= args.linear.n;
  const int within = static_cast<int>(rows_first ? args.row_tiles : args.column_tiles);
  const int outer = block_x() / within, inner = block_x() - outer * within;
  return {(rows_first ? inner : outer) * kRows, (rows_first ? outer : inner) * kColumns};
}

}  // namespace tokenfuse::cuda
