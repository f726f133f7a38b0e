// merge_attention on a GPU, per batch b: o_RC = softmax(q_RC x_SC^T) x_SC, one pass over the tokens
//
// Contract, for every pointer a device address:
//   q: R rows of 16-bit values of `type`, scaled already, the same for all of the batch; x: S
//   tokens per batch; o: R rows per batch. Rows are contiguous (stride C); C is a multiple of 8, at
//   most 1,024; addresses are multiples of 16. Any R, S >= 1. lse: null, or (batch, R) float32: log
//   sum exp of a row's scores. weights: null, or (batch, R, S) float32: the softmax itself; takes
//   lse and a second pass. workspace: merge_attention_workspace_bytes of the same extents; what is
//   in it does not matter.
// Scores, softmax and sums in float32. A batch depends on no other, bit by bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cuda/runtime.h"
#include "core/cuda/types.h"

namespace tokenfuse::cuda {

struct MergeAttentionArgs {
  Type type;
  const void *q, *x;
  void* o;
  float* lse;
  float* weights;
  void* workspace;
  int batch, rows, tokens, width;
};

std::size_t merge_attention_workspace_bytes(const DeviceInfo& device,
                                            const MergeAttentionArgs& args);
void merge_attention(Stream& stream, const DeviceInfo& device, const MergeAttentionArgs& args);

}  // namespace tokenfuse::cuda
