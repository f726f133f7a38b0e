// linear on a GPU: y_MN = l (act(norm(x_MK) w_NK^T + b_N) + r_MN) + m z_MN
//
// Contract, for every pointer a device address:
//   w: 16-bit values of `type`, N rows of `ldw` >= K, zeros behind K; ldw is a multiple of 8.
//   x: either x16, M rows of 16-bit values of `type`, stride ldx a multiple of 8 and zeros (or any
//   finite value) up to a multiple of 8 behind K; or x32, float rows of any stride, to which the
//   norm is applied where `norm` says so, in float32, before they are rounded to `type`.
//   Sums are float32; bias b, residual r, and z (`original`) are float32, each may be null. r and z
//   have y's rows and strides of their own; r may be y.
//   gated: outputs 2 i and 2 i + 1 of the product are gate and up of output i: act(gate) up, so y
//   has N / 2 columns; no bias. Otherwise y has N.
//   y: float32 rows (y32) or rows of `type` (y16).
// Rows of y: row m of x becomes row (m / group) y_group + m % group + *y_row of y; with
// `residual_repeats` r has the rows of one group, and its row is m % group. `y_row` may be null: 0.
// Any M, N, K >= 1 (M = 0 does nothing). Addresses of x16 and w are multiples of 16.
// A row of y depends on its row of x alone, and on no other argument's extent, bit by bit.
#pragma once

#include <cstdint>

#include "core/cuda/runtime.h"
#include "core/cuda/types.h"
#include "kernels/linear/linear.h"

namespace tokenfuse::cuda {

enum class NormKind { kNone, kLayer, kRms };

struct LinearArgs {
  Type type;
  const void* x16;
  const float* x32;
  std::int64_t ldx;
  NormKind norm;
  const float* norm_weight;
  const float* norm_bias;  // of a layer norm
  float norm_eps;
  const void* w;
  std::int64_t ldw;
  const float* bias;
  Activation activation;
  bool gated;
  const float* residual;
  std::int64_t ldr;
  bool residual_repeats;
  const float* original;
  std::int64_t ldo;
  float scale;           // l: 1 where there is nothing to scale
  float original_scale;  // m
  void* y16;
  float* y32;
  std::int64_t ldy;
  int m, n, k;
  int group, y_group;  // group 0: all rows are one
  const int* y_row;
};

void linear(Stream& stream, const DeviceInfo& device, const LinearArgs& args);

}  // namespace tokenfuse::cuda
