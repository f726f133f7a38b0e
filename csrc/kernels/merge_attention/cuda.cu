// merge_attention on a GPU: the pass over the tokens (cuda_pass.cuh, cuda_store.cuh); where it is
// split, a kernel that joins the parts; and one that gives the weights.
#include "core/cuda/device.h"
#include "core/cuda/launch.h"
#include "kernels/merge_attention/cuda_pass.cuh"
#include "kernels/merge_attention/cuda_store.cuh"

namespace tokenfuse::cuda {
namespace {

constexpr int kPassThreads = kMergeWarps * kWarpSize;

template <typename T, int kUnits, int kTokens, int kRowTiles>
TF_KERNEL void TF_LAUNCH_BOUNDS(kPassThreads, 1) merge_pass(MergePassArgs args) {
  MergePass<T, kUnits, kTokens, kRowTiles> pass(args);
  pass.load_queries();
  const int tiles = (args.args.tokens + kTokens - 1) / kTokens;
  const int first = args.splits == 1 ? 0 : block_y();
  const int last = args.splits == 1 ? args.streams : first + 1;
  for (int stream = first; stream < last; ++stream) {
    const int begin = stream * args.tiles_per_stream, end = begin + args.tiles_per_stream;
    pass.run_stream(begin, end < tiles ? end : tiles);
    pass.join(stream == first);
  }
  if (args.splits == 1) {
    store_result<T>(pass);
  } else {
    store_part(pass);
  }
}

constexpr int kJoinThreads = 128;

// Eight columns of a row for each thread; all its parts are asked for before the first is needed.
template <typename T>
TF_KERNEL void TF_LAUNCH_BOUNDS(kJoinThreads, 1) merge_join(MergePassArgs pass) {
  const MergeAttentionArgs& args = pass.args;
  const int vectors = args.width / 8, at = block_x() * kJoinThreads + thread_index();
  const int row = at / vectors, column = at % vectors * 8;
  if (row >= args.rows) return;
  const MergeParts parts = merge_parts(pass);
  const std::int64_t first = static_cast<std::int64_t>(block_y()) * pass.splits * args.rows + row;
  FourFloats numbers[kMergeStreams][2];
  float maxima[kMergeStreams], sums[kMergeStreams];
  TF_UNROLL for (int part = 0; part < kMergeStreams; ++part) {
    if (part >= pass.splits) continue;
    const std::int64_t from = first + static_cast<std::int64_t>(part) * args.rows;
    maxima[part] = parts.max[from];
    sums[part] = parts.sum[from];
    const auto* o = reinterpret_cast<const FourFloats*>(parts.o + from * args.width + column);
    numbers[part][0] = o[0];
    numbers[part][1] = o[1];
  }
  float max = maxima[0], sum = sums[0], total[8];
  TF_UNROLL for (int i = 0; i < 8; ++i) total[i] = numbers[0][i / 4].values[i % 4];
  TF_UNROLL for (int part = 1; part < kMergeStreams; ++part) {
    if (part >= pass.splits) continue;
    const Join by = join_of(max, maxima[part]);
    max = by.max;
    sum = joined(sum, sums[part], by);
    TF_UNROLL for (int i = 0; i < 8; ++i) {
      total[i] = joined(total[i], numbers[part][i / 4].values[i % 4], by);
    }
  }
  const float inverse = inverse_of(sum);
  Vec128 out;
  TF_UNROLL for (int i = 0; i < 4; ++i) {
    out.words[i] = pack<T>(total[2 * i] * inverse, total[2 * i + 1] * inverse);
  }
  const std::int64_t to = static_cast<std::int64_t>(block_y()) * args.rows + row;
  store_128(static_cast<T*>(args.o) + to * args.width + column, out);
  if (args.lse != nullptr && column == 0) args.lse[to] = lse_of(max, sum);
}

constexpr int kWeightWarps = 4;

// 16 rows and 16 tokens for each warp. Not in the way of an answer, so it needs no shared memory:
// a lane reads 8 columns of its rows at once, and as all factors take their columns in the same
// order, which columns a multiply_add has does not matter.
template <typename T>
TF_KERNEL void TF_LAUNCH_BOUNDS(kWeightWarps* kWarpSize, 1) merge_weights(MergeAttentionArgs args) {
  const int lane = lane_index(), row0 = block_y() * kMergeRows;
  const int token0 = (block_x() * kWeightWarps + warp_index()) * 16;
  const auto words = [&](const void* from, std::int64_t row, bool there, int column) {
    const Vec128 none{};
    return there && column < args.width
               ? load_128(static_cast<const T*>(from) + row * args.width + column)
               : none;
  };
  float s[2][4] = {};
  for (int k = 0; k < args.width; k += 32) {
    const int column = k + lane % 4 * 8;
    Vec128 a[2], b[2];
    TF_UNROLL for (int half = 0; half < 2; ++half) {
      const int row = row0 + lane / 4 + 8 * half, token = token0 + lane / 4 + 8 * half;
      a[half] = words(args.q, row, row < args.rows, column);
      b[half] = words(args.x, static_cast<std::int64_t>(block_z()) * args.tokens + token,
                      token < args.tokens, column);
    }
    // Lanes may have parted over what is there.
    sync_warp();
    TF_UNROLL for (int i = 0; i < 4; i += 2) {
      const std::uint32_t left[4] = {a[0].words[i], a[1].words[i], a[0].words[i + 1],
                                     a[1].words[i + 1]};
      TF_UNROLL for (int n = 0; n < 2; ++n) {
        const std::uint32_t right[2] = {b[n].words[i], b[n].words[i + 1]};
        multiply_add<T>(s[n], left, right);
      }
    }
  }
  TF_UNROLL for (int i = 0; i < 4; ++i) {
    const std::int64_t row = row0 + lane / 4 + i / 2 * 8;
    if (row >= args.rows) continue;
    const std::int64_t at = static_cast<std::int64_t>(block_z()) * args.rows + row;
    const float lse = args.lse[at];
    TF_UNROLL for (int n = 0; n < 2; ++n) {
      const int token = token0 + 8 * n + lane % 4 * 2 + i % 2;
      if (token < args.tokens) {
        args.weights[at * args.tokens + token] = exp2_fast((s[n][i] - lse) * kLog2e);
      }
    }
  }
}

template <typename T>
void run_type(Stream& stream, const MergeAttentionPlan& plan, const MergeAttentionArgs& args) {
  const MergePassArgs pass{args, plan.streams, plan.tiles_per_stream, plan.splits};
  const bool pairs = plan.row_tiles == 2, wide = plan.tokens == 32;
  void (*kernel)(MergePassArgs) = merge_pass<T, 8, 16, 1>;
  if (plan.units == 1) kernel = pairs ? merge_pass<T, 1, 32, 2> : merge_pass<T, 1, 32, 1>;
  if (plan.units == 2) kernel = pairs ? merge_pass<T, 2, 32, 2> : merge_pass<T, 2, 32, 1>;
  if (plan.units == 3) kernel = pairs ? merge_pass<T, 3, 32, 2> : merge_pass<T, 3, 32, 1>;
  if (plan.units == 4) kernel = merge_pass<T, 4, 32, 1>;
  if (plan.units == 6) kernel = wide ? merge_pass<T, 6, 32, 1> : merge_pass<T, 6, 16, 1>;
  launch(stream, "merge_attention", kernel, {plan.blocks_x, plan.splits, args.batch}, kPassThreads,
         plan.shared_bytes, pass);
  if (plan.splits > 1) {
    const int blocks = (args.rows * (args.width / 8) + kJoinThreads - 1) / kJoinThreads;
    launch(stream, "merge_attention join", merge_join<T>, {blocks, args.batch}, kJoinThreads, 0,
           pass);
  }
  if (args.weights != nullptr) {
    const int tokens = kWeightWarps * 16;
    const Grid grid{(args.tokens + tokens - 1) / tokens, (args.rows + kMergeRows - 1) / kMergeRows,
                    args.batch};
    launch(stream, "merge_attention weights", merge_weights<T>, grid, kWeightWarps * kWarpSize, 0,
           args);
  }
}

}  // namespace

std::size_t merge_attention_workspace_bytes(const DeviceInfo& device,
                                            const MergeAttentionArgs& args) {
  return merge_attention_plan(device, args).workspace_bytes;
}

void merge_attention(Stream& stream, const DeviceInfo& device, const MergeAttentionArgs& args) {
  const MergeAttentionPlan plan = merge_attention_plan(device, args);
  if (args.type == Type::kHalf) {
    run_type<Half>(stream, plan, args);
  } else {
    run_type<Bf16>(stream, plan, args);
  }
}

}  // namespace tokenfuse::cuda
