// Picture to tokens x_SC: stem, patch convolution, positions, layers, layer norm.
#pragma once

#include <vector>

#include "engine/config.h"
#include "engine/layers.h"
#include "kernels/conv2d/conv2d.h"

namespace tokenfuse {

class ImageEncoder {
 public:
  void load(Loader& loader, const VisionConfig& config);
  void need(Workspace& space) const noexcept;
  void layout(Arena& arena, int num_threads) noexcept;

  // image: (image_size, image_size, 3). Returns the tokens, valid until the next call.
  View run(Compute& compute, const Workspace& space, const float* image) noexcept;

 private:
  struct Conv {
    Conv2dShape shape;
    const float* packed;
    const float* bias;
    Activation activation;
  };

  Conv load_conv(Loader& loader, const std::string& name, const Conv2dShape& shape,
                 Activation activation);

  std::int64_t num_tokens_ = 0, num_first_ = 0, width_ = 0, mlp_dim_ = 0;
  std::vector<Conv> stem_;
  // Patches do not overlap: together they are one linear, in the engine's precision.
  Conv2dShape patch_shape_{};
  PackedLinear patch_;
  // Class and distillation token: `num_first_` rows.
  const float* first_ = nullptr;
  const float* position_ = nullptr;
  std::vector<SelfLayer> layers_;
  Norm norm_;
  View x_{};
  float* maps_[2] = {nullptr, nullptr};
  float* conv_scratch_ = nullptr;
};

}  // namespace tokenfuse
