// The layers that both engines load from the same tensors, each with its own Loader into structs of
// its own: where a part of the model has its weights is written here once.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "engine/config.h"

namespace tokenfuse {

// A pre-norm self layer of the image encoder or the fusion.
template <typename Loader, typename Layer>
void load_self_layer(Loader& loader, const std::string& prefix, std::int64_t width,
                     std::int64_t mlp_dim, float eps, Layer& layer) {
  layer.norm1 = loader.layer_norm(prefix + ".norm1", width, eps);
  layer.qkv = loader.linear(prefix + ".attention", {"query", "key", "value"}, width, width, true);
  layer.output = loader.linear(prefix + ".attention", {"output"}, width, width, true);
  layer.norm2 = loader.layer_norm(prefix + ".norm2", width, eps);
  layer.up = loader.linear(prefix + ".mlp", {"up"}, width, mlp_dim, true);
  layer.down = loader.linear(prefix + ".mlp", {"down"}, mlp_dim, width, true);
}

// An iteration of the fusion [paper eq. 3, 4], but for what it takes of the image: tanh(alpha) is
// folded into `output`, tanh(beta) into `down`.
template <typename Loader, typename Iteration>
void load_iteration(Loader& loader, const FusionConfig& config, const std::string& prefix,
                    Iteration& iteration) {
  const std::int64_t d = config.width;
  const float alpha = std::tanh(loader.scalar(prefix + ".alpha"));
  const float beta = std::tanh(loader.scalar(prefix + ".beta"));
  iteration.norm_text = loader.layer_norm(prefix + ".norm_text", d, config.eps);
  iteration.query = loader.linear(prefix + ".attention", {"query"}, d, d, true);
  iteration.output = loader.linear(prefix + ".attention", {"output"}, d, d, true, alpha);
  iteration.up = loader.linear(prefix + ".mlp", {"up"}, d, config.mlp_dim, true);
  iteration.down = loader.linear(prefix + ".mlp", {"down"}, config.mlp_dim, d, true, beta);
  const bool weighted = config.combination == "weighted";
  iteration.lambda = weighted ? loader.scalar(prefix + ".lambda_") : 1.0f;
  iteration.mu =
      weighted ? loader.scalar(prefix + ".mu") : (config.combination == "residual" ? 1.0f : 0.0f);
  iteration.layers.clear();
  iteration.layers.resize(static_cast<std::size_t>(config.num_layers / config.num_iterations));
  for (std::size_t i = 0; i < iteration.layers.size(); ++i) {
    iteration.layers[i].load(loader, prefix + ".layers." + std::to_string(i), d, config.num_heads,
                             config.mlp_dim, config.activation, config.eps);
  }
}

}  // namespace tokenfuse
