// linear: y_MN = act(x_MK W_NK^T + b_N) + r_MN
//
// Contract, for every variant:
//   x: M rows of K floats, row stride ldx >= K; y: M rows of N, stride ldy >= N.
//   W: packed once by `linear_pack` of the same variant. b: N floats or null.
//   r: M rows of N, stride ldr, or null; r may be y itself. x must not overlap y.
//   Sums run over K in float32 with fused multiply-add where there is one: in order, but for
//   a row that is left alone behind the tiles, which is four sums, of every fourth product.
//   How a call is split at multiples of `tile_rows` changes no bit.
//   M, N, K of 0 are allowed: K = 0 gives act(b) + r.
// Rows are split by the caller; columns by panels of `panel_width` outputs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

enum class Activation { kNone, kGelu, kGeluTanh };

// What a dense layer is told, for its elements of x and of W.
template <typename Value, typename Weight>
struct DenseArgs {
  const Value* x;
  std::int64_t ldx;
  const Weight* packed;
  const float* bias;
  const float* residual;
  std::int64_t ldr;
  float* y;
  std::int64_t ldy;
  std::int64_t m, n, k;
  Activation activation;
};

using LinearArgs = DenseArgs<float, float>;

struct LinearKernel {
  int panel_width;  // outputs of a panel
  int tile_rows;    // rows of the largest micro-tile: split M at multiples of it
  // Computes rows [row_begin, row_end) of panels [panel_begin, panel_end).
  void (*run)(const LinearArgs& args, std::int64_t row_begin, std::int64_t row_end,
              std::int64_t panel_begin, std::int64_t panel_end) noexcept;
};

// The variant of an instruction set; falls back to scalar where it is not compiled in.
const LinearKernel& linear_kernel(Isa isa) noexcept;

inline std::int64_t linear_num_panels(const LinearKernel& kernel, std::int64_t n) noexcept {
  return (n + kernel.panel_width - 1) / kernel.panel_width;
}

// Floats that `linear_pack` writes.
inline std::size_t linear_packed_floats(const LinearKernel& kernel, std::int64_t n,
                                        std::int64_t k) noexcept {
  return static_cast<std::size_t>(linear_num_panels(kernel, n) * kernel.panel_width * k);
}

// W (n rows of k floats, stride ldw) to panels: [panel][k][panel_width], zeros behind n.
void linear_pack(const LinearKernel& kernel, const float* w, std::int64_t ldw, std::int64_t n,
                 std::int64_t k, float* packed) noexcept;

class ThreadPool;

// The whole product, split over the pool.
void linear(const LinearKernel& kernel, const LinearArgs& args, ThreadPool& pool) noexcept;

}  // namespace tokenfuse
