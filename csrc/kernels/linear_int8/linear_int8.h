// linear_int8: y_MN = act(s_M t_N (q_MK W_NK^T) + b_N) + r_MN, the product in 8-bit integers
//
// q_MK, s_M are `quantize` of x_MK; W_NK, t_N are the weights quantised per output channel at
// load: t_N = max_K |w_NK| / 127, W = round(w / t). No calibration data; the sums are exact in
// int32, so every variant and every split gives the same bits up to the rounding of the ending.
//
// Contract, for every variant:
//   q: M rows of K bytes in -127..127, row stride ldq >= K rounded up to kInt8Group, the bytes
//   behind K zero. scale, sum: M values, as `quantize` writes them.
//   packed, t: written once by `linear_int8_pack` of the same variant. b: N floats or null.
//   y: M rows of N, stride ldy >= N. r: M rows of N, stride ldr, or null; r may be y itself.
//   act: GELU and tanh-GELU within 2e-4 max(1, |x|): what comes next is rounded to 8 bits.
//   K <= kInt8MaxK. M, N, K of 0 are allowed: K = 0 gives act(b) + r.
// Rows are split by the caller; columns by panels of `panel_width` outputs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/isa.h"
#include "kernels/linear/linear.h"
#include "kernels/quantize/quantize.h"

namespace tokenfuse {

// Products that one instruction adds up, at most: 4 with dot products, 8 with i8mm.
inline constexpr std::int64_t kInt8Group = 8;
// 2^31 / (127 * 255): beyond it a sum could leave int32.
inline constexpr std::int64_t kInt8MaxK = 66'311;

struct LinearInt8Args {
  const std::int8_t* q;
  std::int64_t ldq;
  const float* scale;
  const std::int32_t* sum;
  const std::uint8_t* packed;
  const float* weight_scale;
  const float* bias;
  const float* residual;
  std::int64_t ldr;
  float* y;
  std::int64_t ldy;
  std::int64_t m, n, k;
  Activation activation;
};

struct LinearInt8Kernel {
  int panel_width;  // outputs of a panel
  int tile_rows;    // rows of the largest micro-tile
  int group;        // neighbours in K that lie together in a panel: 1, 2, 4 or 8
  int offset;       // added to every packed weight: 128 where the instruction wants them unsigned
  // Computes rows [row_begin, row_end) of panels [panel_begin, panel_end).
  void (*run)(const LinearInt8Args& args, std::int64_t row_begin, std::int64_t row_end,
              std::int64_t panel_begin, std::int64_t panel_end) noexcept;
};

// The variant of an instruction set; falls back to scalar where it is not compiled in.
const LinearInt8Kernel& linear_int8_kernel(Isa isa) noexcept;

inline std::int64_t linear_int8_num_panels(const LinearInt8Kernel& kernel,
                                           std::int64_t n) noexcept {
  return (n + kernel.panel_width - 1) / kernel.panel_width;
}

inline std::int64_t int8_padded(std::int64_t k) noexcept {
  return (k + kInt8Group - 1) / kInt8Group * kInt8Group;
}

// Bytes that `linear_int8_pack` writes.
inline std::size_t linear_int8_packed_bytes(const LinearInt8Kernel& kernel, std::int64_t n,
                                            std::int64_t k) noexcept {
  return static_cast<std::size_t>(linear_int8_num_panels(kernel, n) * kernel.panel_width *
                                  int8_padded(k));
}

// Quantises w (N rows of K floats, stride ldw) per row, to W (N, K) and t (N).
void quantize_weights(QuantizeFn quantize, const float* w, std::int64_t ldw, std::int64_t n,
                      std::int64_t k, std::int8_t* quantized, float* scale) noexcept;

// W (N rows of K bytes) to panels: [panel][K / group][panel_width][group], zeros (before the
// offset) behind N and K.
void linear_int8_pack(const LinearInt8Kernel& kernel, const std::int8_t* w, std::int64_t n,
                      std::int64_t k, std::uint8_t* packed) noexcept;

// Where a call keeps its quantised rows.
struct QuantizedRows {
  std::int8_t* q;
  std::int64_t ldq;  // bytes, a multiple of kInt8Group
  float* scale;
  std::int32_t* sum;
};

// Quantises x (M rows of K floats) into `rows` and multiplies, on this thread. `args.q`,
// `args.ldq`, `args.scale` and `args.sum` are set here.
void linear_int8_rows(const LinearInt8Kernel& kernel, QuantizeFn quantize, const float* x,
                      std::int64_t ldx, const QuantizedRows& rows, LinearInt8Args args) noexcept;

class ThreadPool;

// The same, split over the pool.
void linear_int8(const LinearInt8Kernel& kernel, QuantizeFn quantize, const float* x,
                 std::int64_t ldx, const QuantizedRows& rows, LinearInt8Args args,
                 ThreadPool& pool) noexcept;

}  // namespace tokenfuse
