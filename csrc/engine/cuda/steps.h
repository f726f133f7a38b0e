// The small kernels between the ops: rows of the embedding, the turn of a decoder's step, and the
// map of a merge.
#pragma once

#include <cstdint>

#include "core/cuda/runtime.h"
#include "engine/cuda/weights.h"

namespace tokenfuse::cuda {

// x (count, width) = rows ids[i] of the table, in float32.
void embed(Stream& stream, const Table& table, const int* ids, int count, float* x);

// What the greedy decoding of a batch knows, all on the device.
struct DecoderState {
  int* position;     // of the ids that are fed next, the same for all of the batch
  int* active;       // 1 while an answer has not ended and `position` is below `limit`
  const int* limit;  // ids per answer
  int* fed;          // (batch): fed next
  int* counts;       // (batch): ids of each answer so far
  int* ids;          // (batch, max_tokens)
  float* log_probs;  // (batch, max_tokens)
  int batch, max_tokens, start_id, end_id;
};

// position 0, active 1, fed the start id, counts 0.
void begin_answers(Stream& stream, const DecoderState& state);
// Takes the next id of each answer that has not ended, and goes on by one position.
void take_next(Stream& stream, const DecoderState& state, const int* top, const float* log_prob);

// map (batch, latents, tokens) = the mean over heads of weights (batch, latents, heads, tokens).
void average_heads(Stream& stream, const float* weights, int batch_latents, int num_heads,
                   int num_tokens, float* map);

}  // namespace tokenfuse::cuda
