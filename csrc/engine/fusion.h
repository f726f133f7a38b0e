// Joint adaptive fusion: text resampling, M gated iterations [paper eq. 3, 4], a layer norm.
#pragma once

#include <vector>

#include "engine/resampler.h"

namespace tokenfuse {

class Fusion {
 public:
  void load(Loader& loader, const ModelConfig& config);
  void need(Workspace& space) const noexcept;
  void layout(Arena& arena) noexcept;
  const Resampler& text_resampler() const noexcept { return text_resampler_; }

  // text: `count` tokens of the text encoder; f: num_latents image tokens. Returns the fused
  // tokens in the decoder's width, valid until the next call.
  View run(Compute& compute, const Workspace& space, View text, std::int64_t count, View f,
           std::int64_t num_latents) noexcept;

 private:
  // As load_layers.h has it.
  struct Iteration {
    Norm norm_text, norm_image;
    PackedLinear query, key_value, output, up, down;
    float lambda, mu;
    std::vector<SelfLayer> layers;
  };

  void run_iteration(Compute& compute, const Workspace& space, const Iteration& iteration, View f,
                     std::int64_t num_latents) noexcept;

  std::int64_t width_ = 0, num_heads_ = 0, mlp_dim_ = 0, num_latents_ = 0, text_width_ = 0;
  Activation activation_ = Activation::kGelu;
  Resampler text_resampler_;
  std::vector<Iteration> iterations_;
  Norm norm_;
  PackedLinear projection_;
  // t, the resampled text t_N, LN(t) and P of eq. 3, LN(f) and then its keys and values.
  View t_{}, original_{}, p_{}, f_{}, key_values_{}, fused_{};
};

}  // namespace tokenfuse
