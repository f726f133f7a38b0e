// What becomes of a linear's sums: y = l (act(sum + b) + r) + m z, and where it is written.
#pragma once

#include <cmath>

#include "core/cuda/vectors.h"
#include "kernels/linear/cuda.h"

namespace tokenfuse::cuda {

struct LinearKernelArgs {
  LinearArgs linear;
  bool x_vectors;  // x32 can be read four at a time
  bool y_pairs;    // y can be written two at a time
  std::int64_t row_tiles;
  std::int64_t column_tiles;
};

// x Phi(x), and 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
TF_DEVICE float activated(Activation activation, float x) {
  if (activation == Activation::kGelu) {
    return 0.5f * x * (1.0f + erff(x * 0.707106781186547524f));
  }
  if (activation == Activation::kGeluTanh) {
    const float cube = x * x * x;
    return 0.5f * x * (1.0f + tanhf(0.797884560802865356f * fmaf(0.044715f, cube, x)));
  }
  return x;
}

// Rows of y and of r that belong to a row of x.
struct LinearRow {
  std::int64_t y, residual;
};

// Read when the block begins, so that nobody waits for it at the end.
TF_DEVICE int first_y_row(const LinearArgs& a) { return a.y_row == nullptr ? 0 : *a.y_row; }

TF_DEVICE LinearRow linear_row(const LinearArgs& a, int row, int y_row) {
  if (a.group == 0) return {std::int64_t{row} + y_row, a.residual_repeats ? row : row + y_row};
  const int group = row / a.group, within = row - group * a.group;
  const std::int64_t y = std::int64_t{group} * a.y_group + within + y_row;
  return {y, a.residual_repeats ? within : y};
}

TF_DEVICE float finished(const LinearArgs& a, const LinearRow& row, int column, float value) {
  if (a.residual != nullptr) value += a.residual[row.residual * a.ldr + column];
  value *= a.scale;
  if (a.original == nullptr) return value;
  return fmaf(a.original_scale, a.original[row.y * a.ldo + column], value);
}

template <typename T>
TF_DEVICE void store_one(const LinearArgs& a, std::int64_t at, float value) {
  if (a.y32 != nullptr) {
    a.y32[at] = value;
  } else {
    static_cast<T*>(a.y16)[at] = from_float<T>(value);
  }
}

// The sums of columns `column`, which is even, and the next one.
template <typename T>
TF_DEVICE void finish_pair(const LinearKernelArgs& args, const LinearRow& row, int column,
                           float low, float high) {
  const LinearArgs& a = args.linear;
  if (column >= a.n) return;
  if (a.gated) {
    const float value = activated(a.activation, low) * high;
    store_one<T>(a, row.y * a.ldy + column / 2, finished(a, row, column / 2, value));
    return;
  }
  const std::int64_t at = row.y * a.ldy + column;
  if (a.bias != nullptr) low += a.bias[column];
  low = finished(a, row, column, activated(a.activation, low));
  if (column + 1 == a.n) return store_one<T>(a, at, low);
  if (a.bias != nullptr) high += a.bias[column + 1];
  high = finished(a, row, column + 1, activated(a.activation, high));
  if (!args.y_pairs) {
    store_one<T>(a, at, low);
    store_one<T>(a, at + 1, high);
  } else if (a.y32 != nullptr) {
    *reinterpret_cast<TwoFloats*>(a.y32 + at) = {{low, high}};
  } else {
    *reinterpret_cast<std::uint32_t*>(static_cast<T*>(a.y16) + at) = pack<T>(low, high);
  }
}

}  // namespace tokenfuse::cuda
