// merge_attention: the fused token-merging attention. With G rows of constant queries,
//
//   s_GS = Q_GD X_SD^T + mask_S,   O_GD = softmax_S(s_GS) X_SD
//
// in one pass over the tokens: scores of a block of tokens, the running maximum m and
// sum l of each row, and the rescaled sum of tokens (streamed softmax).
//
// Where the latents X_N are learned, every projection folds into constants [paper eq. 2]:
//   Q = (X_N Wq + bq)_h Wk_h / sqrt(h) for each head h (G = H N rows); the key bias adds the
//   same number to a whole row and cancels in the softmax; Wo Wv_h is applied to O
//   afterwards. It costs 2 G S D products instead of the 2 S D^2 of projecting all tokens.
//
// Contract:
//   q: G rows of D floats, stride ldq; x: S rows of D, stride ldx; o: G rows of D, ldo.
//   mask: S floats added to the scores (0 or -inf), or null.
//   lse: G floats, log of the sum of exp(s), or null.
//   scratch: merge_attention_scratch_floats(D, G) floats. o must not overlap the inputs.
//   S = 0, or all tokens masked: O = 0, lse = -inf.
// Rows are independent: the caller splits them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

// Tokens of a block: its transposed copy (32 D floats, 96 KiB at D = 768) stays in the
// second-level cache while all rows pass by, and 32 scores are two AVX-512 registers.
inline constexpr std::int64_t kMergeBlock = 32;

struct MergeAttentionArgs {
  const float* q;
  std::int64_t ldq;
  const float* x;
  std::int64_t ldx;
  const float* mask;
  float* o;
  std::int64_t ldo;
  float* lse;
  std::int64_t num_rows, num_tokens, width;
};

struct MergeAttentionKernel {
  void (*run)(const MergeAttentionArgs& args, float* scratch) noexcept;
  // The weights themselves, w_GS = exp(s_GS - lse_G), stride ldw: which token fed which row.
  // `args.lse` must hold what `run` wrote; `args.o` is not used.
  void (*weights)(const MergeAttentionArgs& args, float* w, std::int64_t ldw) noexcept;
};

const MergeAttentionKernel& merge_attention_kernel(Isa isa) noexcept;

// One transposed block, and the scores of 4 rows. The running maxima and sums live in
// `scratch` too: pass the rows of a call.
inline std::size_t merge_attention_scratch_floats(std::int64_t width,
                                                  std::int64_t num_rows) noexcept {
  return static_cast<std::size_t>(kMergeBlock * (width + 4) + 2 * num_rows);
}

}  // namespace tokenfuse
