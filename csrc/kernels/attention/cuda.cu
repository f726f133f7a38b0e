// attention on a GPU: cuda_plan.h says when which of the two kernels runs, and that both give the
// same bits.
#include "core/cuda/device.h"
#include "core/cuda/launch.h"
#include "kernels/attention/cuda_stream.cuh"

namespace tokenfuse::cuda {
namespace {

constexpr int kThreads = kAttentionWarps * kWarpSize;

TF_DEVICE int num_chunks(int num_keys, int keys) { return (num_keys + keys - 1) / keys; }

// Few blocks: 16 queries each, and the keys split among the warps. A warp's chunks are its own, so
// that it waits for no other until all are done.
template <typename T, int kDim, int kKeys>
TF_KERNEL void TF_LAUNCH_BOUNDS(kThreads, 2) attention_split(AttentionArgs args) {
  constexpr int kChunk = 2 * kKeys * (kDim + kAttentionPad);
  const AttentionHead<T> head = attention_head<T>(args);
  const int chunks = num_chunks(head.num_keys, kKeys), warp = warp_index(), lane = lane_index();
  T* mine = reinterpret_cast<T*>(shared_memory()) + warp * kSplitStages * kChunk;

  TF_UNROLL for (int stage = 0; stage < kSplitStages; ++stage) {
    const int chunk = warp + stage * kAttentionStreams;
    if (chunk < chunks) {
      copy_chunk<T, kDim, kKeys, kWarpSize>(args, head, chunk, mine + stage * kChunk, lane);
    }
    copy_async_commit();
  }
  AttentionQueries<T, kDim> queries;
  queries.load(args, head, block_x() * kAttentionQueries);
  AttentionSums<kDim> sums;
  sums.clear();
  int stage = 0;
  for (int chunk = warp; chunk < chunks; chunk += kAttentionStreams) {
    copy_async_wait<kSplitStages - 1>();
    sync_warp();
    T* rows = mine + stage * kChunk;
    add_chunk<T, kDim, kKeys>(head, queries, chunk, rows, sums);
    sync_warp();
    const int next = chunk + kSplitStages * kAttentionStreams;
    if (next < chunks) copy_chunk<T, kDim, kKeys, kWarpSize>(args, head, next, rows, lane);
    copy_async_commit();
    stage = stage + 1 == kSplitStages ? 0 : stage + 1;
  }
  sums.finish();

  // Where the warp's chunks were: rows of sums in float32, their maxima and sums of weights. 8
  // numbers more per row: lanes of four rows then write to different banks.
  constexpr int kPart = kDim + 8, kRest = kAttentionQueries * kPart;
  constexpr int kWarpFloats = kSplitStages * kChunk / 2;
  static_assert(kRest + 2 * kAttentionQueries <= kWarpFloats, "the sums fit where the chunks were");
  float* parts = reinterpret_cast<float*>(shared_memory());
  float* part = parts + warp * kWarpFloats;
  sync_warp();
  TF_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    TF_UNROLL for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<TwoFloats*>(part + row * kPart + 8 * n + lane % 4 * 2) = {
          {sums.o[n][2 * half], sums.o[n][2 * half + 1]}};
    }
    if (lane % 4 == 0) {
      part[kRest + row] = sums.max[half];
      part[kRest + kAttentionQueries + row] = sums.sum[half];
    }
  }
  sync_threads();

  const int streams = chunks < kAttentionStreams ? chunks : kAttentionStreams;
  // Four columns for each thread, so that neighbours read neighbouring banks.
  for (int at = thread_index(); at < kAttentionQueries * kDim / 4; at += kThreads) {
    const int row = at / (kDim / 4), column = at % (kDim / 4) * 4;
    if (row >= queries.count || column >= args.head_dim) continue;
    const auto o_of = [&](int stream) {
      return *reinterpret_cast<const FourFloats*>(parts + stream * kWarpFloats + row * kPart +
                                                  column);
    };
    float max = parts[kRest + row], sum = parts[kRest + kAttentionQueries + row];
    FourFloats o = o_of(0);
    for (int stream = 1; stream < streams; ++stream) {
      const float* rest = parts + stream * kWarpFloats + kRest + row;
      const FourFloats other = o_of(stream);
      const Join by = join_of(max, rest[0]);
      max = by.max;
      sum = joined(sum, rest[kAttentionQueries], by);
      TF_UNROLL for (int i = 0; i < 4; ++i) {
        o.values[i] = joined(o.values[i], other.values[i], by);
      }
    }
    const float inverse = inverse_of(sum);
    auto* to = reinterpret_cast<std::uint32_t*>(head.o + (queries.first + row) * args.ldo + column);
    TF_UNROLL for (int i = 0; i < 2; ++i) {
      to[i] = pack<T>(o.values[2 * i] * inverse, o.values[2 * i + 1] * inverse);
    }
  }
}

// Many blocks: 16 queries for each warp, which all need the same chunks. The streams come one
// after the other.
template <typename T, int kDim, int kKeys>
TF_KERNEL void TF_LAUNCH_BOUNDS(kThreads, 2) attention_shared(AttentionArgs args) {
  constexpr int kChunk = 2 * kKeys * (kDim + kAttentionPad);
  const AttentionHead<T> head = attention_head<T>(args);
  const int chunks = num_chunks(head.num_keys, kKeys), lane = lane_index();
  T* shared = reinterpret_cast<T*>(shared_memory());
  const auto after = [chunks](int chunk) {
    return chunk + kAttentionStreams < chunks ? chunk + kAttentionStreams
                                              : chunk % kAttentionStreams + 1;
  };

  int copied = 0, coming = 0;  // chunks asked for, and the next
  TF_UNROLL for (; copied < kSharedStages - 1; ++copied) {
    if (copied < chunks) {
      copy_chunk<T, kDim, kKeys, kThreads>(args, head, coming, shared + copied * kChunk,
                                           thread_index());
      coming = after(coming);
    }
    copy_async_commit();
  }
  AttentionQueries<T, kDim> queries;
  queries.load(args, head, (block_x() * kAttentionWarps + warp_index()) * kAttentionQueries);
  AttentionSums<kDim> total, sums;
  total.clear();
  sums.clear();
  int chunk = 0;
  for (int done = 0; done < chunks; ++done, ++copied) {
    copy_async_wait<kSharedStages - 2>();
    // The chunk is there for all, and the one before it is not needed by any.
    sync_threads();
    if (copied < chunks) {
      copy_chunk<T, kDim, kKeys, kThreads>(
          args, head, coming, shared + copied % kSharedStages * kChunk, thread_index());
      coming = after(coming);
    }
    copy_async_commit();
    if (queries.count > 0) {
      add_chunk<T, kDim, kKeys>(head, queries, chunk, shared + done % kSharedStages * kChunk, sums);
      if (chunk + kAttentionStreams >= chunks) {
        sums.finish();
        if (chunk % kAttentionStreams == 0) {
          total = sums;
        } else {
          total.join(sums);
        }
        sums.clear();
      }
    }
    chunk = after(chunk);
  }

  TF_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    if (row >= queries.count) continue;
    const float inverse = inverse_of(total.sum[half]);
    T* to = head.o + (queries.first + row) * args.ldo + lane % 4 * 2;
    TF_UNROLL for (int n = 0; n < kDim / 8; ++n) {
      if (8 * n >= args.head_dim) continue;
      *reinterpret_cast<std::uint32_t*>(to + 8 * n) =
          pack<T>(total.o[n][2 * half] * inverse, total.o[n][2 * half + 1] * inverse);
    }
  }
}

template <typename T, int kDim, int kKeys, bool kMayShare = true>
void run(Stream& stream, const AttentionPlan& plan, const AttentionArgs& args) {
  void (*kernel)(AttentionArgs) = attention_split<T, kDim, kKeys>;
  if constexpr (kMayShare) {
    if (plan.shares_keys) kernel = attention_shared<T, kDim, kKeys>;
  }
  launch(stream, "attention", kernel, {plan.blocks_x, args.num_heads, args.batch}, kThreads,
         plan.shared_bytes, args);
}

template <typename T>
void run_type(Stream& stream, const AttentionPlan& plan, const AttentionArgs& args) {
  if (plan.dim == 128) return run<T, 128, 16, false>(stream, plan, args);
  if (plan.dim == 96) return run<T, 96, 16, false>(stream, plan, args);
  if (plan.dim == 64) {
    if (plan.keys == 32) return run<T, 64, 32>(stream, plan, args);
    return run<T, 64, 16>(stream, plan, args);
  }
  if (plan.keys == 32) return run<T, 32, 32>(stream, plan, args);
  run<T, 32, 16>(stream, plan, args);
}

}  // namespace

void attention(Stream& stream, const DeviceInfo& device, const AttentionArgs& args) {
  const AttentionPlan plan = attention_plan(device, args);
  if (args.type == Type::kHalf) {
    run_type<Half>(stream, plan, args);
  } else {
    run_type<Bf16>(stream, plan, args);
  }
}

}  // namespace tokenfuse::cuda
