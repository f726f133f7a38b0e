// The micro-kernel of `linear`, for any vector type V.
//
// A tile is R rows by 2 vectors of outputs: 2R accumulators, 2 vectors of W and
// one broadcast of x stay in registers. R is chosen per instruction set so that
// these fill the register file: 6 of 16 registers' pairs for AVX2, 12 of 32 for
// AVX-512.
#pragma once

#include "core/simd/math.h"
#include "kernels/linear/linear.h"

namespace tokenfuse {

// `Near` takes the short way that is good enough for 8 bits.
template <typename V, bool Near = false>
inline typename V::T activate(typename V::T x, Activation activation) noexcept {
  if constexpr (Near) {
    if (activation == Activation::kGelu) return gelu_near_of<V>(x, kGeluNear);
    if (activation == Activation::kGeluTanh) return gelu_near_of<V>(x, kGeluTanhNear);
    return x;
  }
  if (activation == Activation::kGelu) return gelu_of<V>(x);
  if (activation == Activation::kGeluTanh) return gelu_tanh_of<V>(x);
  return x;
}

// The ending of every linear, on sums in registers: bias, activation, residual, store.
template <typename V, int R, int C, bool Near = false, typename Args>
inline void linear_store(const Args& a, std::int64_t row, std::int64_t column,
                         typename V::T (&acc)[R][C]) noexcept {
  using T = typename V::T;
  const std::int64_t left = a.n - column;
  for (int c = 0; c < C; ++c) {
    const std::int64_t rest = left - c * V::kLanes;
    if (rest <= 0) break;
    const int count = rest < V::kLanes ? static_cast<int>(rest) : V::kLanes;
    const bool whole = count == V::kLanes;
    const std::int64_t at = column + c * V::kLanes;
    T bias = V::zero();
    if (a.bias != nullptr) {
      bias = whole ? V::load(a.bias + at) : V::load_n(a.bias + at, count, 0.0f);
    }
    for (int r = 0; r < R; ++r) {
      T value = activate<V, Near>(V::add(acc[r][c], bias), a.activation);
      if (a.residual != nullptr) {
        const float* from = a.residual + (row + r) * a.ldr + at;
        value = V::add(value, whole ? V::load(from) : V::load_n(from, count, 0.0f));
      }
      float* to = a.y + (row + r) * a.ldy + at;
      if (whole) {
        V::store(to, value);
      } else {
        V::store_n(to, value, count);
      }
    }
  }
}

template <typename V, int R, int C>
inline void linear_tile(const LinearArgs& a, std::int64_t row, std::int64_t panel) noexcept {
  using T = typename V::T;
  constexpr int kWidth = C * V::kLanes;
  const float* w = a.packed + panel * kWidth * a.k;
  const float* x = a.x + row * a.ldx;
  T acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = V::zero();
  }
  for (std::int64_t k = 0; k < a.k; ++k, w += kWidth) {
    T b[C];
    for (int c = 0; c < C; ++c) b[c] = V::load(w + c * V::kLanes);
    for (int r = 0; r < R; ++r) {
      const T value = V::set1(x[r * a.ldx + k]);
      for (int c = 0; c < C; ++c) acc[r][c] = V::fma(value, b[c], acc[r][c]);
    }
  }
  linear_store<V, R, C>(a, row, panel * kWidth, acc);
}

// One row: four partial sums hide the latency of the fused multiply-add.
template <typename V, int C>
inline void linear_row(const LinearArgs& a, std::int64_t row, std::int64_t panel) noexcept {
  using T = typename V::T;
  constexpr int kWidth = C * V::kLanes;
  constexpr int kParts = 4;
  const float* w = a.packed + panel * kWidth * a.k;
  const float* x = a.x + row * a.ldx;
  T part[kParts][C];
  for (int p = 0; p < kParts; ++p) {
    for (int c = 0; c < C; ++c) part[p][c] = V::zero();
  }
  std::int64_t k = 0;
  for (; k + kParts <= a.k; k += kParts) {
    for (int p = 0; p < kParts; ++p, w += kWidth) {
      const T value = V::set1(x[k + p]);
      for (int c = 0; c < C; ++c) {
        part[p][c] = V::fma(value, V::load(w + c * V::kLanes), part[p][c]);
      }
    }
  }
  for (; k < a.k; ++k, w += kWidth) {
    const T value = V::set1(x[k]);
    for (int c = 0; c < C; ++c) {
      part[0][c] = V::fma(value, V::load(w + c * V::kLanes), part[0][c]);
    }
  }
  T acc[1][C];
  for (int c = 0; c < C; ++c) {
    acc[0][c] = V::add(V::add(part[0][c], part[1][c]), V::add(part[2][c], part[3][c]));
  }
  linear_store<V, 1, C>(a, row, panel * kWidth, acc);
}

// The rest of the rows, fewer than R + 1.
template <typename V, int R, int C>
inline void linear_rest(const LinearArgs& a, std::int64_t row, std::int64_t rows,
                        std::int64_t panel) noexcept {
  if constexpr (R == 1) {
    if (rows == 1) linear_row<V, C>(a, row, panel);
  } else {
    if (rows == R) {
      linear_tile<V, R, C>(a, row, panel);
    } else {
      linear_rest<V, R - 1, C>(a, row, rows, panel);
    }
  }
}

template <typename V, int R, int C>
void linear_run(const LinearArgs& a, std::int64_t row_begin, std::int64_t row_end,
                std::int64_t panel_begin, std::int64_t panel_end) noexcept {
  // A panel stays in the second-level cache while all rows pass by.
  for (std::int64_t panel = panel_begin; panel < panel_end; ++panel) {
    std::int64_t row = row_begin;
    for (; row + R <= row_end; row += R) linear_tile<V, R, C>(a, row, panel);
    linear_rest<V, R, C>(a, row, row_end - row, panel);
  }
}

}  // namespace tokenfuse
