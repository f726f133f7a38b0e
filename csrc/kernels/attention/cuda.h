// attention on a GPU, per batch b and head: o = softmax(c q k^T + bias) v
//
// Contract, for every pointer a device address:
//   q, k, v, o: rows of 16-bit values of `type`; head h is at columns h * head_dim and on. Strides
//   of rows and batches are in elements and multiples of 8; addresses are multiples of 16;
//   head_dim is a multiple of 8, at most 128.
//   bias: null, or float32: score (i, j) of head h gets bias[h * bias_head_stride + j - i'], with
//   i' the query's position; -infinity hides a key. At least one key of each query is not hidden.
//   key_counts: null, or `batch` ints of the device: only so many keys, 1 to num_keys, are there.
//   first: null, or an int of the device: queries are rows *first + i of q, their results rows i of
//   o, their positions *first + i, and there are *first + num_queries keys, at most num_keys.
//   Without it query i is row i and at position i. scale c; softmax and sums in float32.
// Any num_queries, num_keys >= 1. A batch and a query depend on no other, bit by bit.
#pragma once

#include <cstdint>

#include "core/cuda/runtime.h"
#include "core/cuda/types.h"

namespace tokenfuse::cuda {

struct AttentionArgs {
  Type type;
  const void *q, *k, *v;
  void* o;
  std::int64_t ldq, ldk, ldv, ldo;
  std::int64_t batch_stride_q, batch_stride_k, batch_stride_v, batch_stride_o;
  const float* bias;
  std::int64_t bias_head_stride;
  const int* key_counts;
  const int* first;
  int batch, num_heads, head_dim, num_queries, num_keys;
  float scale;
};

void attention(Stream& stream, const DeviceInfo& device, const AttentionArgs& args);

}  // namespace tokenfuse::cuda
