#include "core/cuda/device.h"
#include "core/cuda/launch.h"
#include "engine/cuda/steps.h"

namespace tokenfuse::cuda {
namespace {

constexpr int kThreads = 128;

int blocks_of(std::int64_t count) { return static_cast<int>((count + kThreads - 1) / kThreads); }

TF_DEVICE int grid_thread() { return block_x() * num_threads() + thread_index(); }

struct EmbedArgs {
  Table table;
  const int* ids;
  float* x;
};

TF_KERNEL void TF_LAUNCH_BOUNDS(kThreads, 1) embed_kernel(EmbedArgs args) {
  const int width = args.table.width;
  // A block per row.
  const std::int64_t id = args.ids[block_x()];
  float* to = args.x + std::int64_t{block_x()} * width;
  for (int i = thread_index(); i < width; i += num_threads()) {
    to[i] = args.table.half ? to_float(static_cast<const Half*>(args.table.data)[id * width + i])
                            : static_cast<const float*>(args.table.data)[id * width + i];
  }
}

TF_KERNEL void TF_LAUNCH_BOUNDS(kThreads, 1) begin_kernel(DecoderState state) {
  const int i = grid_thread();
  if (i < state.batch) {
    state.fed[i] = state.start_id;
    state.counts[i] = 0;
  }
  if (i == 0) {
    *state.position = 0;
    *state.active = 1;
  }
}

struct TakeArgs {
  DecoderState state;
  const int* top;
  const float* log_prob;
};

// One block, so that a barrier orders all of it.
TF_KERNEL void TF_LAUNCH_BOUNDS(kThreads, 1) take_kernel(TakeArgs args) {
  const DecoderState& state = args.state;
  auto* goes_on = reinterpret_cast<int*>(shared_memory());
  const int position = *state.position;
  if (thread_index() == 0) *goes_on = 0;
  sync_threads();
  // Past its limit, nothing is written: a step may come once too often.
  const bool taking = *state.active != 0 && position < *state.limit;
  for (int i = thread_index(); taking && i < state.batch; i += num_threads()) {
    // An answer that has ended is shorter than the position.
    if (state.counts[i] != position) continue;
    const int id = args.top[i];
    state.ids[i * state.max_tokens + position] = id;
    state.log_probs[i * state.max_tokens + position] = args.log_prob[i];
    state.fed[i] = id;
    if (id == state.end_id) {
      // Marked by a count that no position reaches again.
      state.counts[i] = -(position + 1);
    } else {
      state.counts[i] = position + 1;
      *goes_on = 1;
    }
  }
  sync_threads();
  if (thread_index() == 0 && taking) {
    *state.position = position + 1;
    *state.active = *goes_on != 0 && position + 1 < *state.limit ? 1 : 0;
  }
}

struct AverageArgs {
  const float* weights;
  float* map;
  int rows, num_heads, num_tokens;
};

TF_KERNEL void TF_LAUNCH_BOUNDS(kThreads, 1) average_kernel(AverageArgs args) {
  const int i = grid_thread();
  if (i >= args.rows * args.num_tokens) return;
  const int row = i / args.num_tokens, token = i % args.num_tokens;
  const float* from = args.weights + std::int64_t{row} * args.num_heads * args.num_tokens + token;
  float sum = 0.0f;
  for (int head = 0; head < args.num_heads; ++head) {
    sum += from[std::int64_t{head} * args.num_tokens];
  }
  args.map[i] = sum / static_cast<float>(args.num_heads);
}

}  // namespace

void embed(Stream& stream, const Table& table, const int* ids, int count, float* x) {
  launch(stream, "embed", embed_kernel, {count}, kThreads, 0, EmbedArgs{table, ids, x});
}

void begin_answers(Stream& stream, const DecoderState& state) {
  launch(stream, "begin_answers", begin_kernel, {blocks_of(state.batch)}, kThreads, 0, state);
}

void take_next(Stream& stream, const DecoderState& state, const int* top, const float* log_prob) {
  launch(stream, "take_next", take_kernel, {1}, kThreads, sizeof(int),
         TakeArgs{state, top, log_prob});
}

void average_heads(Stream& stream, const float* weights, int batch_latents, int num_heads,
                   int num_tokens, float* map) {
  launch(stream, "average_heads", average_kernel,
         {blocks_of(std::int64_t{batch_latents} * num_tokens)}, kThreads, 0,
         AverageArgs{weights, map, batch_latents, num_heads, num_tokens});
}

}  // namespace tokenfuse::cuda
