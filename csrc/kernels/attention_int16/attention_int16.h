// attention_int16, one head: O_Qh = softmax_K(c Q_Qh K_Kh^T + B_QK) V_Kh, both products in 16-bit
// integers
//
// What `attention` is to float32 linears, this is to 8-bit ones: their arithmetic units do twice
// the multiplications in 16 bits, and the rounding is finer than bfloat16's. Queries are rounded
// to steps of their row's largest value, keys of the head's, values of their column's; weights to
// 1 / 32767. The products are exact in int32: the integers of queries and keys are at most
// sqrt(2^31 / h), and a row of weights sums to 1.
//
// Contract: `AttentionArgs` of `attention`, with K <= kInt16MaxKeys and
// attention_int16_scratch_bytes(K, h) of scratch, aligned to 64 bytes. Every variant and every
// split of the queries gives the same integers; the softmax between them is float32, its
// exponential within 4e-6. NaN or infinity in a query makes its row NaN, in a key every row, in a
// value its column.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/isa.h"
#include "kernels/attention/attention.h"

namespace tokenfuse {

// 32767 (32767 + K / 2) must fit 31 bits.
inline constexpr std::int64_t kInt16MaxKeys = 65'536;

using AttentionInt16Fn = void (*)(const AttentionArgs& args, void* scratch) noexcept;

AttentionInt16Fn attention_int16_kernel(Isa isa) noexcept;

// Where a call's packed keys and values and its tile of rows lie, in bytes from the scratch.
struct AttentionInt16Layout {
  // Keys padded to whole vectors of any variant; pairs of head columns and value columns too.
  static constexpr std::int64_t kPadding = 16;
  static constexpr std::int64_t kMaxRows = 14;

  std::int64_t keys, pairs, columns;
  std::size_t packed_keys, packed_values, value_scale, rows, scores, queries, weights, total;

  AttentionInt16Layout(std::int64_t num_keys, std::int64_t head_dim) noexcept;
};

inline std::size_t attention_int16_scratch_bytes(std::int64_t num_keys,
                                                 std::int64_t head_dim) noexcept {
  return AttentionInt16Layout(num_keys, head_dim).total;
}

}  // namespace tokenfuse
