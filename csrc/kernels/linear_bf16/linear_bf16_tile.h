// `linear_bf16` by widening, on the micro-kernel of `linear`.
//
// Weights are widened where they are loaded, by a shift or a mask for each vector of them: a
// ninth more work for the arithmetic units. With many rows the first tile keeps what it widened,
// which costs nothing beside its products, and the others are those of `linear`. The order of the
// sums is the same.
#pragma once

#include "kernels/linear/linear_tile.h"
#include "kernels/linear_bf16/linear_bf16.h"

namespace tokenfuse {

// Tiles of rows up to which widening again is cheaper than a panel in float32, which takes twice
// the room in the cache.
inline constexpr std::int64_t kFewTiles = 2;

// bfloat16 weights in pairs, float32 activations.
template <typename Vector, int Rows, int Vectors, bool Keeps>
struct Bf16Product {
  using V = Vector;
  using Weight = std::uint16_t;
  using Value = float;
  using Factor = typename V::T;
  static constexpr int kRows = Rows, kVectors = Vectors, kGroup = 2, kParts = 2;
  static constexpr bool kKeeps = Keeps;

  template <int Part>
  static Factor weights(const std::uint16_t* w) noexcept {
    if constexpr (Part == 0) return V::first_bf16(w);
    if constexpr (Part == 1) return V::second_bf16(w);
  }
  static Factor value(const float* x) noexcept { return V::set1(*x); }
  static typename V::T fma(Factor x, Factor w, typename V::T sum) noexcept {
    return V::accumulate(sum, x, w);
  }
};

template <typename V, int Rows, int Vectors>
void linear_bf16_run(const LinearBf16Args& a, const Bf16Work& work, std::int64_t row_begin,
                     std::int64_t row_end, std::int64_t panel_begin,
                     std::int64_t panel_end) noexcept {
  if (row_end - row_begin <= kFewTiles * Rows) {
    linear_run<Bf16Product<V, Rows, Vectors, false>>(a, row_begin, row_end, panel_begin, panel_end);
    return;
  }
  using First = Bf16Product<V, Rows, Vectors, true>;
  using Rest = FloatProduct<V, Rows, Vectors>;
  constexpr int kWidth = Vectors * V::kLanes;
  const std::int64_t size = bf16_padded(a.k) * kWidth;
  const LinearArgs wide{a.x, a.ldx, nullptr, a.bias, a.residual, a.ldr,
                        a.y, a.ldy, a.m,     a.n,    a.k,        a.activation};
  for (std::int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const std::uint16_t* weights = a.packed + panel * size;
    const std::int64_t column = panel * kWidth;
    const auto* next = reinterpret_cast<const char*>(weights + size);
    linear_tile<First, Rows, Vectors>(a, row_begin, {weights, column, next, work.panel});
    linear_cut_panel<Rest, Vectors>(wide, row_begin + Rows, row_end,
                                    {work.panel, column, nullptr, nullptr}, next);
  }
}

}  // namespace tokenfuse
