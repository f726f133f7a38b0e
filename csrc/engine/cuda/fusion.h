// Joint adaptive fusion on a GPU: text resampling, M gated iterations [paper eq. 3, 4].
#pragma once

#include <vector>

#include "engine/cuda/resampler.h"

namespace tokenfuse::cuda {

class Fusion {
 public:
  void load(Loader& loader, const ModelConfig& config);
  void need(Space& space, int batch) const noexcept;
  void layout(DeviceArena& arena, const DeviceInfo& device, Type type, int batch);

  // text: (batch, length, T) before `norm`, with counts[b] tokens; f: (batch, num_latents, D) image
  // tokens. Returns the fused tokens in the decoder's width, 16-bit rows.
  const void* run(const Compute& compute, const Space& space, const Norm& norm, const float* text,
                  const int* counts, int batch, int length, const float* f, int num_latents) const;

 private:
  // As load_layers.h has it.
  struct Iteration {
    Norm norm_text;
    Linear query, output, up, down;
    float lambda = 1.0f, mu = 0.0f;
    std::vector<SelfLayer> layers;
  };

  void run_iteration(const Compute& compute, const Space& space, std::size_t index, int batch,
                     int num_latents) const;

  std::int64_t width_ = 0, text_width_ = 0, mlp_dim_ = 0;
  int num_heads_ = 0, num_latents_ = 0;
  Activation activation_ = Activation::kGelu;
  Resampler text_resampler_;
  std::vector<Iteration> iterations_;
  // Keys and values of the image tokens for all iterations are one linear: their norms differ in
  // weight and bias alone, which are folded into it.
  Norm norm_image_;
  Linear key_values_of_image_;
  Norm norm_;
  Linear projection_;
  // float32: t, the resampled text t_N, and P of eq. 3; then 16 bits.
  float *t_ = nullptr, *original_ = nullptr, *p_ = nullptr;
  void *query_ = nullptr, *key_values_ = nullptr, *fused_ = nullptr;
};

}  // namespace tokenfuse::cuda
