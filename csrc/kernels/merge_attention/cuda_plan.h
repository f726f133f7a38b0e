// How a merge_attention is laid out on a GPU: host code alone, so that tests can ask for any
// device.
//
// A block has 8 warps and 16 or 32 rows. A warp has a slice of the columns: its part of all scores
// and, of the sums of tokens, these columns. So a token is read once for a block, by one warp.
#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/merge_attention/cuda.h"

namespace tokenfuse::cuda {

inline constexpr int kMergeWarps = 8;
inline constexpr int kMergeRows = 16;  // of a multiply_add
inline constexpr int kMergeStages = 2;
// Sums over the tokens are made in at most so many streams, and these joined in their order.
inline constexpr int kMergeStreams = 8;
// 8 numbers more in rows of tokens, weights and scores: 16 bytes for those of 16 bits, whose rows
// are then odd multiples of 16 long, and 8 banks for the scores.
inline constexpr int kMergePad = 8;

// Shared memory of a block. For `units` slices of 16 columns in a warp.
constexpr std::size_t merge_copied_bytes(int units, int tokens) {
  return static_cast<std::size_t>(kMergeWarps * kMergeStages * tokens * (16 * units + kMergePad) *
                                  2);
}
// Scores of each warp, weights, and four numbers for each row.
constexpr std::size_t merge_score_bytes(int rows, int tokens) {
  return static_cast<std::size_t>(rows * ((kMergeWarps * 4 + 2) * (tokens + kMergePad) + 4 * 4));
}

struct MergeAttentionPlan {
  int units;             // of 16 columns, of a warp
  int tokens;            // of a tile
  int tiles_per_stream;  // of tokens
  int streams;
  int row_tiles;  // 16 rows each, of a block
  int blocks_x;
  int splits;  // blocks that share the streams: 1, or as many as there are streams
  std::size_t shared_bytes;
  std::size_t workspace_bytes;
};

// `tokens`, `tiles_per_stream` and `streams` come from extents and the device, which a batch does
// not change, for they change sums. `row_tiles` and `splits` do not, so they may.
inline MergeAttentionPlan merge_attention_plan(const DeviceInfo& device,
                                               const MergeAttentionArgs& args) {
  const auto up = [](std::int64_t a, std::int64_t b) { return static_cast<int>((a + b - 1) / b); };
  MergeAttentionPlan plan{};
  plan.units = up(args.width, 16 * kMergeWarps);
  if (plan.units == 5 || plan.units == 7) ++plan.units;
  const auto bytes = [&](int row_tiles, int tokens) {
    return merge_copied_bytes(plan.units, tokens) +
           merge_score_bytes(row_tiles * kMergeRows, tokens);
  };
  // 32 tokens for each two barriers, 16 where wide tokens would not fit shared memory, or
  // registers.
  plan.tokens = plan.units <= 6 && bytes(1, 32) <= device.shared_bytes_per_block ? 32 : 16;

  // As many streams as give each multiprocessor a block at batch 1, where there are two tiles for
  // each: both are then on their way at once, and joining costs less than it gains.
  const int tiles = up(args.tokens, plan.tokens), row_blocks = up(args.rows, kMergeRows);
  const int streams =
      std::max(1, std::min({kMergeStreams, up(tiles, 2), device.num_multiprocessors / row_blocks}));
  plan.tiles_per_stream = up(tiles, streams);
  plan.streams = up(tiles, plan.tiles_per_stream);

  const std::int64_t blocks = std::int64_t{row_blocks} * args.batch;
  plan.splits = blocks < device.num_multiprocessors ? plan.streams : 1;
  // 32 rows read the tokens half as often, where two blocks for each multiprocessor are left.
  // Beyond 384 columns, registers have no room for the queries and two sets of sums.
  const int pairs = up(args.rows, 2 * kMergeRows);
  plan.row_tiles = plan.units <= 3 && plan.splits == 1 &&
                           std::int64_t{pairs} * args.batch >= 2 * device.num_multiprocessors &&
                           bytes(2, plan.tokens) <= device.shared_bytes_per_block
                       ? 2
                       : 1;
  plan.blocks_x = plan.row_tiles == 2 ? pairs : row_blocks;
  plan.shared_bytes = bytes(plan.row_tiles, plan.tokens);
  if (plan.splits > 1) {
    plan.workspace_bytes = static_cast<std::size_t>(args.batch) *
                           static_cast<std::size_t>(plan.splits) *
                           static_cast<std::size_t>(args.rows) *
                           static_cast<std::size_t>(args.width + 2) * sizeof(float);
  }
  return plan;
}

}  // namespace tokenfuse::cuda
