#include "engine/cuda/text_encoder.h"

#include "engine/cuda/steps.h"
#include "engine/layers.h"

namespace tokenfuse::cuda {

void TextEncoder::load(Loader& loader, const TextConfig& config) {
  width_ = config.width;
  num_heads_ = static_cast<int>(config.num_heads);
  head_dim_ = static_cast<int>(config.head_dim);
  max_tokens_ = static_cast<int>(config.max_tokens);
  mlp_dim_ = config.mlp_dim;
  const std::int64_t inner = config.num_heads * config.head_dim;
  embedding_ = loader.table("embedding.weight", config.vocab_size, width_);
  bias_ = loader.keep(relative_bias_lines(
      loader.read("text.relative_bias.weight", {config.num_buckets, config.num_heads}),
      config.num_buckets, config.num_heads, config.max_distance, config.max_tokens, true));
  layers_.assign(static_cast<std::size_t>(config.num_layers), Layer{});
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = "text.layers." + std::to_string(i);
    Layer& layer = layers_[i];
    layer.norm = loader.rms_norm(prefix + ".norm1", width_, config.eps);
    layer.qkv =
        loader.linear(prefix + ".attention", {"query", "key", "value"}, width_, inner, false);
    layer.output = loader.linear(prefix + ".attention", {"output"}, inner, width_, false);
    layer.mlp.load(loader, prefix + ".norm2", prefix + ".mlp", width_, mlp_dim_, config.eps);
  }
  norm_ = loader.rms_norm("text.norm", width_, config.eps);
}

void TextEncoder::need(Space& space, int batch) const noexcept {
  space.need(std::int64_t{batch} * max_tokens_, width_, std::int64_t{num_heads_} * head_dim_,
             mlp_dim_);
}

void TextEncoder::layout(DeviceArena& arena, int batch) {
  x_ = arena.many<float>(std::int64_t{batch} * max_tokens_ * width_);
}

float* TextEncoder::run(const Compute& compute, const Space& space, const int* ids,
                        const int* counts, int batch, int length) const {
  const int rows = batch * length;
  embed(*compute.stream, embedding_, ids, rows, x_);
  AttentionArgs heads =
      self_attention(compute, space.qkv, space.o, batch, length, num_heads_, head_dim_, 1.0f);
  heads.bias = bias_ + max_tokens_ - 1;
  heads.bias_head_stride = 2 * max_tokens_ - 1;
  heads.key_counts = counts;
  for (const Layer& layer : layers_) {
    compute.linear(layer.qkv, rows, {.x32 = x_, .norm = &layer.norm, .y16 = space.qkv});
    attention(*compute.stream, compute.device, heads);
    compute.linear(layer.output, rows, {.x16 = space.o, .y32 = x_, .residual = x_});
    layer.mlp.run(compute, space, x_, rows);
  }
  return x_;
}

}  // namespace tokenfuse::cuda
