// The micro-kernel of the dense layers with float sums, for any product P.
//
// A product has: V, the vectors of the sums; kRows and kVectors, the largest tile; Weight and
// Value, the elements of W and x; kGroup, neighbours in K that lie together in a panel; kParts,
// multiply-adds that they take; weights<Part>, value and fma; kKeeps, see `linear_bf16`. That of
// `linear` ends this file.
//
// A tile is R rows by C vectors of outputs: its sums, C vectors of W and one broadcast of x stay
// in registers. Meanwhile it fetches a part of the next panel: a model's weights fit no cache
// near a core, and with few rows most of the time went into waiting for them.
#pragma once

#include "core/row_tiles.h"
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

// The ending of a whole panel, on sums in registers: bias, residual, store.
template <typename V, bool kResidual, int R, int C, typename Args>
inline void linear_store_whole(const Args& a, std::int64_t row, std::int64_t column,
                               typename V::T (&acc)[R][C]) noexcept {
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    const std::int64_t at = column + c * V::kLanes;
    const typename V::T bias = a.bias == nullptr ? V::zero() : V::load(a.bias + at);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      typename V::T value = V::add(acc[r][c], bias);
      if constexpr (kResidual) value = V::add(value, V::load(a.residual + (row + r) * a.ldr + at));
      V::store(a.y + (row + r) * a.ldy + at, value);
    }
  }
}

// The activation of a tile that was stored: in the first-level cache still. Code of its own, that
// not every height of a tile has it again.
template <typename V, int C, typename Args>
[[gnu::noinline]] void activate_tile(const Args& a, std::int64_t row, std::int64_t column,
                                     int rows) noexcept {
  const auto over = [&](auto activation) {
    for (int r = 0; r < rows; ++r) {
      float* y = a.y + (row + r) * a.ldy + column;
      for (int c = 0; c < C; ++c, y += V::kLanes) {
        V::store(y, activate<V>(V::load(y), decltype(activation)::value));
      }
    }
  };
  if (a.activation == Activation::kGelu) {
    over(std::integral_constant<Activation, Activation::kGelu>{});
  } else {
    over(std::integral_constant<Activation, Activation::kGeluTanh>{});
  }
}

// The same where the panel is cut off, or where a residual comes behind an activation.
template <typename V, int R, int C, bool Near = false, typename Args>
inline void linear_store_any(const Args& a, std::int64_t row, std::int64_t column,
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

// The ending of every linear with float sums.
template <typename V, int R, int C, typename Args>
inline void linear_store(const Args& a, std::int64_t row, std::int64_t column,
                         typename V::T (&acc)[R][C]) noexcept {
  const bool plain = a.activation == Activation::kNone;
  if (column + C * V::kLanes > a.n || (a.residual != nullptr && !plain)) {
    linear_store_any<V, R, C>(a, row, column, acc);
  } else if (a.residual != nullptr) {
    linear_store_whole<V, true, R, C>(a, row, column, acc);
  } else {
    linear_store_whole<V, false, R, C>(a, row, column, acc);
    if (!plain) activate_tile<V, C>(a, row, column, R);
  }
}

// A panel of weights, its first output, what of the next panel a tile fetches, and where widened
// weights are kept.
template <typename P>
struct LinearPanel {
  const typename P::Weight* weights;
  std::int64_t column;
  const char* next;
  float* keep;
};

// Weights of one step of kGroup inputs, their cache lines, and the bytes that a tile fetches for
// one step of its own: a line, so that the next panel is there after as many tiles as lines.
template <typename P>
inline constexpr int kLinearStep = P::kVectors * P::V::kLanes * P::kGroup;
template <typename P>
inline constexpr int kLinearStepBytes =
    kLinearStep<P> * static_cast<int>(sizeof(typename P::Weight));
template <typename P>
inline constexpr int kLinearStepLines = kLinearStepBytes<P> < 64 ? 1 : kLinearStepBytes<P> / 64;
template <typename P>
inline constexpr int kLinearFetchBytes = kLinearStepBytes<P> / kLinearStepLines<P>;

// acc += the products of one step, of its parts before `num_parts`: part i goes to acc[i % S].
// A product that keeps its widened weights writes them to `keep`.
template <typename P, int S, int R, int C, int Part = 0>
inline void linear_step(const typename P::Weight* w, const typename P::Value* x, std::int64_t ldx,
                        int num_parts, typename P::V::T (&acc)[S][R][C],
                        [[maybe_unused]] float* keep = nullptr) noexcept {
  using V = typename P::V;
  if constexpr (Part < P::kParts) {
    if (Part == num_parts) return;
    // Read again: the registers are full, and a compiler that keeps what it read for the part
    // before moves sums to the stack.
    if constexpr (Part > 0) asm("" : "+r"(w));
    typename P::Factor b[C];
    for (int c = 0; c < C; ++c) {
      b[c] = P::template weights<Part>(w + c * V::kLanes * P::kGroup);
      if constexpr (P::kKeeps) V::store(keep + (Part * P::kVectors + c) * V::kLanes, b[c]);
    }
    for (int r = 0; r < R; ++r) {
      const typename P::Factor value = P::value(x + r * ldx + Part);
      for (int c = 0; c < C; ++c) acc[Part % S][r][c] = P::fma(value, b[c], acc[Part % S][r][c]);
    }
    linear_step<P, S, R, C, Part + 1>(w, x, ldx, num_parts, acc, keep);
  }
}

template <typename P, int R, int C, typename Args>
inline void linear_tile(const Args& a, std::int64_t row, const LinearPanel<P>& panel) noexcept {
  using V = typename P::V;
  const typename P::Weight* w = panel.weights;
  const typename P::Value* x = a.x + row * a.ldx;
  const char* next = panel.next;
  [[maybe_unused]] float* keep = panel.keep;
  typename V::T acc[1][R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[0][r][c] = V::zero();
  }
  std::int64_t k = 0;
  for (; k + P::kGroup <= a.k; k += P::kGroup, w += kLinearStep<P>, next += kLinearFetchBytes<P>) {
    __builtin_prefetch(next, 0, 2);
    linear_step<P>(w, x + k, a.ldx, P::kParts, acc, keep);
    if constexpr (P::kKeeps) keep += kLinearStep<P>;
  }
  if (k < a.k) linear_step<P>(w, x + k, a.ldx, 1, acc, keep);
  linear_store<V, R, C>(a, row, panel.column, acc[0]);
}

// One row: four partial sums hide the latency of the multiply-add.
template <typename P, int C, typename Args>
inline void linear_row(const Args& a, std::int64_t row, const LinearPanel<P>& panel) noexcept {
  using V = typename P::V;
  constexpr int kSteps = 4 / P::kParts;
  const typename P::Weight* w = panel.weights;
  const typename P::Value* x = a.x + row * a.ldx;
  typename V::T sum[kSteps][P::kParts][1][C];
  for (int s = 0; s < kSteps; ++s) {
    for (int p = 0; p < P::kParts; ++p) {
      for (int c = 0; c < C; ++c) sum[s][p][0][c] = V::zero();
    }
  }
  std::int64_t k = 0;
  for (; k + kSteps * P::kGroup <= a.k; k += kSteps * P::kGroup) {
    for (int s = 0; s < kSteps; ++s, w += kLinearStep<P>) {
      linear_step<P>(w, x + k + s * P::kGroup, a.ldx, P::kParts, sum[s]);
    }
  }
  typename V::T acc[1][1][C];
  for (int c = 0; c < C; ++c) acc[0][0][c] = sum[0][0][0][c];
  for (; k < a.k; k += P::kGroup, w += kLinearStep<P>) {
    linear_step<P>(w, x + k, a.ldx, k + P::kGroup <= a.k ? P::kParts : 1, acc);
  }
  const auto partial = [&](int i, int c) { return sum[i / P::kParts][i % P::kParts][0][c]; };
  for (int c = 0; c < C; ++c) {
    acc[0][0][c] =
        V::add(V::add(acc[0][0][c], partial(1, c)), V::add(partial(2, c), partial(3, c)));
  }
  linear_store<V, 1, C>(a, row, panel.column, acc[0]);
}

// All rows of one panel, of which C vectors of outputs are there.
template <typename P, int C, typename Args>
void linear_panel(const Args& a, std::int64_t row_begin, std::int64_t row_end, LinearPanel<P> panel,
                  const void* next) noexcept {
  constexpr int R = P::kRows;
  const std::int64_t lines = (a.k + P::kGroup - 1) / P::kGroup * kLinearFetchBytes<P>;
  int tile = 0;
  const auto fetch = [&] {
    panel.next = static_cast<const char*>(next) + tile++ % kLinearStepLines<P> * lines;
  };
  std::int64_t row = row_begin;
  for (; row + R <= row_end; row += R) {
    fetch();
    linear_tile<P, R, C>(a, row, panel);
  }
  if (row == row_end) return;
  fetch();
  with_rows<R - 1>(row_end - row, [&](auto rows) {
    constexpr int kRows = decltype(rows)::value;
    if constexpr (kRows == 1) {
      linear_row<P, C>(a, row, panel);
    } else {
      linear_tile<P, kRows, C>(a, row, panel);
    }
  });
}

// The last panel may be cut off: its vectors of nothing but padding are left out.
template <typename P, int C, typename Args>
inline void linear_cut_panel(const Args& a, std::int64_t row_begin, std::int64_t row_end,
                             const LinearPanel<P>& panel, const void* next) noexcept {
  if constexpr (C > 1) {
    if (a.n - panel.column <= (C - 1) * P::V::kLanes) {
      linear_cut_panel<P, C - 1>(a, row_begin, row_end, panel, next);
      return;
    }
  }
  linear_panel<P, C>(a, row_begin, row_end, panel, next);
}

template <typename P, typename Args>
void linear_run(const Args& a, std::int64_t row_begin, std::int64_t row_end,
                std::int64_t panel_begin, std::int64_t panel_end) noexcept {
  constexpr int kWidth = P::kVectors * P::V::kLanes;
  const std::int64_t size = (a.k + P::kGroup - 1) / P::kGroup * kLinearStep<P>;
  // A panel stays in a cache near the core while all rows pass by.
  for (std::int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const typename P::Weight* weights = a.packed + panel * size;
    linear_cut_panel<P, P::kVectors>(a, row_begin, row_end,
                                     {weights, panel * kWidth, nullptr, nullptr}, weights + size);
  }
}

// float32: one input after the other.
template <typename Vector, int Rows, int Vectors>
struct FloatProduct {
  using V = Vector;
  using Weight = float;
  using Value = float;
  using Factor = typename V::T;
  static constexpr int kRows = Rows, kVectors = Vectors, kGroup = 1, kParts = 1;
  static constexpr bool kKeeps = false;

  template <int Part>
  static Factor weights(const float* w) noexcept {
    return V::load(w);
  }
  static Factor value(const float* x) noexcept { return V::set1(*x); }
  static typename V::T fma(Factor x, Factor w, typename V::T sum) noexcept {
    return V::fma(x, w, sum);
  }
};

}  // namespace tokenfuse
