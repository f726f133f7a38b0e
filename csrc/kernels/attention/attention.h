// attention, one head: O_Qh = softmax_K(c Q_Qh K_Kh^T + B_QK) V_Kh
//
// Contract:
//   q: Q rows of h floats, stride ldq; k, v: K rows, strides ldk, ldv; o: Q rows, ldo.
//   bias: Q rows of K floats, stride ldb (of any sign), or null: relative positions, masks (-inf),
//   causality. scratch: attention_scratch_floats(K, h) floats; o must not overlap the inputs. The
//   row maximum is subtracted before exp. A row whose keys are all masked, and K = 0, give zeros.
// Heads and blocks of queries are independent: the caller splits them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

struct AttentionArgs {
  const float* q;
  std::int64_t ldq;
  const float* k;
  std::int64_t ldk;
  const float* v;
  std::int64_t ldv;
  const float* bias;
  std::int64_t ldb;
  float* o;
  std::int64_t ldo;
  std::int64_t num_queries, num_keys, head_dim;
  float scale;
};

using AttentionFn = void (*)(const AttentionArgs& args, float* scratch) noexcept;

AttentionFn attention_kernel(Isa isa) noexcept;

// Keys transposed and padded to 32, and the scores of 4 query rows.
inline std::size_t attention_scratch_floats(std::int64_t num_keys, std::int64_t head_dim) noexcept {
  const std::int64_t padded = (num_keys + 31) / 32 * 32;
  return static_cast<std::size_t>(padded * (head_dim + 4));
}

}  // namespace tokenfuse
