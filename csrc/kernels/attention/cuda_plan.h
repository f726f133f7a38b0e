// How an attention is laid out on a GPU: host code alone, so that tests can ask for any device.
#pragma once

#include <cstddef>

#include "kernels/attention/cuda.h"

namespace tokenfuse::cuda {

// A softmax is summed in this many streams: stream w has the chunks of keys w, w + 4, ... They are
// joined in the order of w. One warp each, or one after the other in one warp: the same bits.
inline constexpr int kAttentionStreams = 4;
inline constexpr int kAttentionWarps = 4;
inline constexpr int kAttentionQueries = 16;  // of a warp: the rows of a multiply_add
// Chunks on their way while one is worked on, and itself.
inline constexpr int kSplitStages = 2, kSharedStages = 3;

// Rows of 8 numbers more: 16 bytes that shift the banks, since 16 (dim / 8 + 1) is an odd multiple
// of 16 for all of them.
inline constexpr int kAttentionPad = 8;

constexpr std::size_t attention_chunk_bytes(int dim, int keys) {
  return std::size_t{2} * 2 * static_cast<std::size_t>(keys * (dim + kAttentionPad));
}

struct AttentionPlan {
  int dim;   // head_dim, padded to what kernels are compiled for
  int keys;  // of a chunk
  // false: the warps of a block have the same 16 queries and a stream of keys each.
  // true: they have 16 queries each, and share the keys.
  bool shares_keys;
  int blocks_x;
  std::size_t shared_bytes;
};

// `keys` depends on extents that a batch does not change, for it changes sums; `shares_keys` may
// depend on the batch and the device, for it does not.
inline AttentionPlan attention_plan(const DeviceInfo& device, const AttentionArgs& args) {
  AttentionPlan plan{};
  plan.dim = args.head_dim <= 32 ? 32 : (args.head_dim + 31) / 32 * 32;
  // 32 keys halve the rescaling of sums that 16 need. But up to 64 keys are then too few for four
  // warps, and with more than 64 columns the sums of 16 keys are as many as registers allow.
  plan.keys = plan.dim > 64 || args.num_keys <= 64 ? 16 : 32;
  // Sharing reads the keys once for 64 queries instead of 16, but takes four times as long for one
  // block: where blocks of it are enough to have two on each multiprocessor, as latency needs.
  const int queries = kAttentionWarps * kAttentionQueries;
  const int shared_x = (args.num_queries + queries - 1) / queries;
  const long long blocks =
      static_cast<long long>(shared_x) * args.num_heads * static_cast<long long>(args.batch);
  // Two sets of sums of 128 columns would not fit the registers; of 96 they spill on 9.0.
  plan.shares_keys = plan.dim <= 64 && args.num_queries > 2 * kAttentionQueries &&
                     blocks >= 2LL * static_cast<long long>(device.num_multiprocessors);
  const std::size_t chunk = attention_chunk_bytes(plan.dim, plan.keys);
  if (plan.shares_keys) {
    plan.blocks_x = shared_x;
    plan.shared_bytes = kSharedStages * chunk;
  } else {
    plan.blocks_x = (args.num_queries + kAttentionQueries - 1) / kAttentionQueries;
    plan.shared_bytes = kAttentionWarps * kSplitStages * chunk;
  }
  return plan;
}

}  // namespace tokenfuse::cuda
