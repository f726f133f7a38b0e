// Text ids to text_BLT on a GPU: T5 v1.1 encoder; the last norm is the reader's.
#pragma once

#include <vector>

#include "engine/config.h"
#include "engine/cuda/layers.h"

namespace tokenfuse::cuda {

class TextEncoder {
 public:
  void load(Loader& loader, const TextConfig& config);
  void need(Space& space, int batch) const noexcept;
  void layout(DeviceArena& arena, int batch);

  // ids: (batch, length), of which the first counts[b] are the text. Returns (batch, length, T),
  // float32, before `norm`.
  float* run(const Compute& compute, const Space& space, const int* ids, const int* counts,
             int batch, int length) const;
  const Norm& norm() const noexcept { return norm_; }
  // Which the decoder shares.
  const Table& embedding() const noexcept { return embedding_; }

 private:
  struct Layer {
    Norm norm;
    Linear qkv, output;
    GatedMlp mlp;
  };

  int num_heads_ = 0, head_dim_ = 0, max_tokens_ = 0;
  std::int64_t width_ = 0, mlp_dim_ = 0;
  Table embedding_;
  const float* bias_ = nullptr;  // (heads, 2 max_tokens - 1)
  std::vector<Layer> layers_;
  Norm norm_;
  float* x_ = nullptr;
};

}  // namespace tokenfuse::cuda
