// The micro-kernel of `linear_int8`, for any set of integer instructions K.
//
// K has: V, the float vectors of the ending; Sums, a register of V::kLanes int32 sums; Weights, one
// of V::kLanes x kGroup weights; Values, kGroup activations broadcast; set1, load, broadcast, dot,
// add; and to_float. A tile is R rows by C registers of outputs, and all of its sums stay in
// registers.
#pragma once

#include "core/row_tiles.h"
#include "kernels/linear/linear_tile.h"
#include "kernels/linear_int8/linear_int8.h"

namespace tokenfuse {

// y = (sums t_N) s_M + b_N (+ r_MN) of a whole panel. All loops are unrolled, so that the sums
// never leave their registers.
template <typename K, bool kResidual, Activation kAct, int R, int C>
inline void linear_int8_scale(const LinearInt8Args& a, std::int64_t row, std::int64_t column,
                              typename K::Sums (&acc)[R][C]) noexcept {
  using V = typename K::V;
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    const std::int64_t at = column + c * V::kLanes;
    const typename V::T weight_scale = V::load(a.weight_scale + at);
    const typename V::T bias = a.bias == nullptr ? V::zero() : V::load(a.bias + at);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename V::T product = V::mul(K::to_float(acc[r][c]), weight_scale);
      typename V::T value = V::fma(product, V::set1(a.scale[row + r]), bias);
      value = activate<V, true>(value, kAct);
      if constexpr (kResidual) value = V::add(value, V::load(a.residual + (row + r) * a.ldr + at));
      V::store(a.y + (row + r) * a.ldy + at, value);
    }
  }
}

// The same where the panel is cut off, or where a residual comes behind an activation.
template <typename K, int R, int C>
inline void linear_int8_end(const LinearInt8Args& a, std::int64_t row, std::int64_t column,
                            typename K::Sums (&acc)[R][C]) noexcept {
  using V = typename K::V;
  typename V::T values[R][C];
  // Unrolled here too: one index that is not a constant puts all sums into memory, in the hot loop.
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    // The scales are padded to whole panels.
    const typename V::T weight_scale = V::load(a.weight_scale + column + c * V::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename V::T product = V::mul(K::to_float(acc[r][c]), weight_scale);
      values[r][c] = V::mul(product, V::set1(a.scale[row + r]));
    }
  }
  linear_store_any<V, R, C, true>(a, row, column, values);
}

template <typename K, int R, int C>
inline void linear_int8_store(const LinearInt8Args& a, std::int64_t row, std::int64_t column,
                              typename K::Sums (&acc)[R][C]) noexcept {
  using V = typename K::V;
  const bool plain = a.activation == Activation::kNone;
  if (column + C * V::kLanes > a.n || (a.residual != nullptr && !plain)) {
    linear_int8_end<K, R, C>(a, row, column, acc);
    return;
  }
  if (a.residual != nullptr) {
    linear_int8_scale<K, true, Activation::kNone, R, C>(a, row, column, acc);
    return;
  }
  if (plain) {
    linear_int8_scale<K, false, Activation::kNone, R, C>(a, row, column, acc);
  } else if (a.activation == Activation::kGelu) {
    linear_int8_scale<K, false, Activation::kGelu, R, C>(a, row, column, acc);
  } else {
    linear_int8_scale<K, false, Activation::kGeluTanh, R, C>(a, row, column, acc);
  }
}

// As in `linear`, a tile fetches a line of the next panel for each of its own steps: that panel is
// there after as many tiles as a step has lines.
template <typename K, int C>
inline constexpr int kInt8StepBytes = C * K::V::kLanes * K::kGroup;
template <typename K, int C>
inline constexpr int kInt8StepLines = kInt8StepBytes<K, C> < 64 ? 1 : kInt8StepBytes<K, C> / 64;
template <typename K, int C>
inline constexpr int kInt8FetchBytes = kInt8StepBytes<K, C> / kInt8StepLines<K, C>;

// A function of its own: its pointers fill the registers, which it would share with its caller's.
template <typename K, int R, int C>
[[gnu::noinline]] void linear_int8_tile(const LinearInt8Args& a, std::int64_t row,
                                        std::int64_t panel, const std::uint8_t* next) noexcept {
  constexpr int kLanes = K::V::kLanes;
  constexpr int kWidth = C * kLanes;
  const std::int64_t padded = int8_padded(a.k);
  const std::uint8_t* w = a.packed + panel * kWidth * padded;
  RowPointers<R, std::int8_t> q(a.q + row * a.ldq, a.ldq);
  typename K::Sums acc[R][C];
  // The weights' offset is taken off before it comes on.
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = K::set1(-K::kOffset * a.sum[row + r]);
  }
  for (std::int64_t k = 0; k < padded; k += K::kGroup, w += kWidth * K::kGroup, q.step(K::kGroup)) {
    __builtin_prefetch(next, 0, 2);
    next += kInt8FetchBytes<K, C>;
    typename K::Weights b[C];
    for (int c = 0; c < C; ++c) b[c] = K::load(w + c * kLanes * K::kGroup);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename K::Values value = K::broadcast(q[r]);
      for (int c = 0; c < C; ++c) acc[r][c] = K::dot(acc[r][c], b[c], value);
    }
  }
  linear_int8_store<K, R, C>(a, row, panel * kWidth, acc);
}

// One row: partial sums hide the latency of the dot product. They are exact, so that it is the
// same sum.
template <typename K, int C>
inline void linear_int8_row(const LinearInt8Args& a, std::int64_t row,
                            std::int64_t panel) noexcept {
  constexpr int kLanes = K::V::kLanes;
  constexpr int kWidth = C * kLanes;
  constexpr int kParts = 4;
  constexpr int kStep = kWidth * K::kGroup;
  const std::int64_t padded = int8_padded(a.k);
  const std::uint8_t* w = a.packed + panel * kWidth * padded;
  const std::int8_t* q = a.q + row * a.ldq;
  typename K::Sums part[kParts][C];
  for (int p = 0; p < kParts; ++p) {
    for (int c = 0; c < C; ++c) part[p][c] = K::set1(p == 0 ? -K::kOffset * a.sum[row] : 0);
  }
  std::int64_t k = 0;
  for (; k + kParts * K::kGroup <= padded; k += kParts * K::kGroup) {
    for (int p = 0; p < kParts; ++p, w += kStep) {
      const typename K::Values value = K::broadcast(q + k + p * K::kGroup);
      for (int c = 0; c < C; ++c) {
        part[p][c] = K::dot(part[p][c], K::load(w + c * kLanes * K::kGroup), value);
      }
    }
  }
  for (; k < padded; k += K::kGroup, w += kStep) {
    const typename K::Values value = K::broadcast(q + k);
    for (int c = 0; c < C; ++c) {
      part[0][c] = K::dot(part[0][c], K::load(w + c * kLanes * K::kGroup), value);
    }
  }
  typename K::Sums acc[1][C];
  for (int c = 0; c < C; ++c) {
    acc[0][c] = K::add(K::add(part[0][c], part[1][c]), K::add(part[2][c], part[3][c]));
  }
  linear_int8_store<K, 1, C>(a, row, panel * kWidth, acc);
}

template <typename K, int R, int C>
void linear_int8_run(const LinearInt8Args& a, std::int64_t row_begin, std::int64_t row_end,
                     std::int64_t panel_begin, std::int64_t panel_end) noexcept {
  const std::int64_t padded = int8_padded(a.k);
  const std::int64_t lines = padded / K::kGroup * kInt8FetchBytes<K, C>;
  // A panel stays in the first-level cache while all rows pass by.
  for (std::int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const std::uint8_t* next = a.packed + (panel + 1) * padded * C * K::V::kLanes;
    int tile = 0;
    for_row_tiles<R>(row_begin, row_end, [&](auto rows, std::int64_t row) {
      constexpr int kRows = decltype(rows)::value;
      if constexpr (kRows == 1) {
        linear_int8_row<K, C>(a, row, panel);
      } else {
        linear_int8_tile<K, kRows, C>(a, row, panel, next + tile++ % kInt8StepLines<K, C> * lines);
      }
    });
  }
}

}  // namespace tokenfuse
