// Pictures to tokens x_BSC on a GPU: stem, patches, positions, layers; the last norm is the
// reader's.
#pragma once

#include <vector>

#include "engine/config.h"
#include "engine/cuda/layers.h"
#include "kernels/conv2d/cuda.h"

namespace tokenfuse::cuda {

class ImageEncoder {
 public:
  void load(Loader& loader, const VisionConfig& config);
  void need(Space& space, int batch) const noexcept;
  void layout(DeviceArena& arena, int batch);

  // images: (batch, image_size, image_size, 3). Returns the tokens, (batch, S, C), float32, before
  // `norm`.
  float* run(const Compute& compute, const Space& space, const float* images, int batch) const;
  const Norm& norm() const noexcept { return norm_; }

 private:
  struct Conv {
    Conv2dShape shape;
    Linear linear;
    Activation activation;
  };

  int num_tokens_ = 0, num_first_ = 0, width_ = 0;
  std::int64_t mlp_dim_ = 0;
  std::vector<Conv> stem_;
  Conv patch_{};
  // Class and distillation token, their positions added: the first tokens of every picture.
  const float* first_ = nullptr;
  const float* position_ = nullptr;
  std::vector<SelfLayer> layers_;
  Norm norm_;
  float* x_ = nullptr;
  void* patches_ = nullptr;
  void* maps_[2] = {nullptr, nullptr};
};

}  // namespace tokenfuse::cuda
