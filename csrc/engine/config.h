// The shape of a model, as `tokenfuse_sdk/config.py` checked it. Names and symbols are the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/linear/linear.h"

namespace tokenfuse {

struct VisionConfig {
  std::int64_t image_size, patch_size, width, num_layers, num_heads, mlp_dim;
  std::vector<std::int64_t> stem_widths;
  bool class_token, distillation_token;
  Activation activation;
  float eps;

  std::int64_t grid_size() const noexcept { return image_size / patch_size; }
  std::int64_t num_class_tokens() const noexcept {
    return (class_token ? 1 : 0) + (distillation_token ? 1 : 0);
  }
  std::int64_t num_tokens() const noexcept {
    return grid_size() * grid_size() + num_class_tokens();
  }
};

struct TextConfig {
  std::int64_t vocab_size, width, num_layers, num_heads, head_dim, mlp_dim, max_tokens;
  std::int64_t num_buckets, max_distance;
  float eps;
};

struct FusionConfig {
  std::int64_t width, num_heads, mlp_dim, num_latents, num_iterations, num_layers;
  std::vector<std::int64_t> token_budgets;
  std::string kind, resampler, combination;
  Activation activation;
  float eps;
};

struct DecoderConfig {
  std::int64_t num_layers, num_heads, head_dim, mlp_dim, max_tokens;
  float eps;
};

struct ModelConfig {
  VisionConfig vision;
  TextConfig text;
  FusionConfig fusion;
  DecoderConfig decoder;

  static constexpr std::int32_t kStartId = 0;
  static constexpr std::int32_t kEosId = 1;
};

}  // namespace tokenfuse
