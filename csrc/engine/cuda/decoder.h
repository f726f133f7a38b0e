// Answer decoder on a GPU: T5 v1.1, with a cache of keys and values.
#pragma once

#include <vector>

#include "engine/config.h"
#include "engine/cuda/layers.h"
#include "engine/cuda/steps.h"

namespace tokenfuse::cuda {

class Decoder {
 public:
  void load(Loader& loader, const ModelConfig& config, const Table& embedding);
  void need(Space& space, int batch) const noexcept;
  void layout(DeviceArena& arena, int batch);

  // Begins answers to (batch, count) fused tokens, 16-bit rows: their keys and values, once.
  void begin(const Compute& compute, const void* fused, int batch, int count) const;

  // One step of all answers: feeds state.fed at *state.position and takes the next ids.
  void step(const Compute& compute, const Space& space, const DecoderState& state,
            int num_fused) const;

  // Feeds ids (batch, count) at positions 0 to count - 1 and returns their logits, (batch, count,
  // vocabulary). With `share_fused` all of the batch read the fused tokens of the first.
  const float* all(const Compute& compute, const Space& space, const int* ids, int batch, int count,
                   int num_fused, bool share_fused) const;

  int vocab_size() const noexcept { return lm_head_.num_out; }
  int max_tokens() const noexcept { return max_tokens_; }
  // Of `all`: how many answers at once.
  int rows() const noexcept { return rows_; }

 private:
  struct Layer {
    Norm norm1, norm2;
    Linear qkv, self_output, query, cross_output;
    GatedMlp mlp;
    void* own = nullptr;  // rows q, k, v of the answers so far: (batch, max_tokens, 3 inner)
  };
  // Where the rows of a pass stand.
  struct Pass {
    int batch, count;
    const int* position;  // or null: from 0 on
    int num_fused;
    bool share_fused;
  };

  // x: (batch, count, T); behind it the logits are those of its rows.
  void run(const Compute& compute, const Space& space, const Pass& pass) const;

  std::int64_t width_ = 0, mlp_dim_ = 0;
  int num_heads_ = 0, head_dim_ = 0, max_tokens_ = 0, num_latents_ = 0, rows_ = 0;
  Table embedding_;
  const float* bias_ = nullptr;  // (heads, 2 max_tokens - 1)
  std::vector<Layer> layers_;
  Linear key_values_of_fused_;  // of all layers
  Norm norm_;
  Linear lm_head_;
  float *x_ = nullptr, *logits_ = nullptr, *log_prob_ = nullptr;
  int* top_ = nullptr;
  void* fused_ = nullptr;
};

}  // namespace tokenfuse::cuda
