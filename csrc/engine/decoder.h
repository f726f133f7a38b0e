// Answer decoder: T5 v1.1, with a cache of keys and values.
#pragma once

#include <vector>

#include "engine/config.h"
#include "engine/layers.h"
#include "engine/text_encoder.h"

namespace tokenfuse {

class Decoder {
 public:
  void load(Loader& loader, const ModelConfig& config);
  void need(Workspace& space) const noexcept;
  void layout(Arena& arena) noexcept;

  // Begins an answer to `count` fused tokens: their keys and values, once.
  void begin(Compute& compute, View fused, std::int64_t count) noexcept;

  // Feeds `count` ids at positions first, first + 1, ... (the ids before were fed) and returns
  // their logits, `count` rows of the vocabulary, valid until the next call.
  View step(Compute& compute, const Workspace& space, const TextEncoder& text,
            const std::int32_t* ids, std::int64_t first, std::int64_t count) noexcept;

  std::int64_t max_tokens() const noexcept { return max_tokens_; }

 private:
  struct Layer {
    Norm norm1, norm2, norm3;
    PackedLinear qkv, self_output, query, key_value, cross_output;
    GatedMlp mlp;
    // Rows q, k, v of the answer so far; keys and values of the fused tokens.
    View own, fused;
  };

  std::int64_t width_ = 0, num_heads_ = 0, head_dim_ = 0, mlp_dim_ = 0;
  std::int64_t max_tokens_ = 0, vocab_size_ = 0, num_latents_ = 0, num_fused_ = 0;
  RelativeBias bias_;
  std::vector<Layer> layers_;
  Norm norm_;
  PackedLinear lm_head_;
  View x_{}, logits_{};
};

}  // namespace tokenfuse
