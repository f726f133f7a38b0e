#include "engine/text_encoder.h"

namespace tokenfuse {

void TextEncoder::load(Loader& loader, const TextConfig& config) {
  width_ = config.width;
  num_heads_ = config.num_heads;
  head_dim_ = config.head_dim;
  mlp_dim_ = config.mlp_dim;
  max_tokens_ = config.max_tokens;
  const std::int64_t inner = num_heads_ * head_dim_;
  embedding_ = loader.table("embedding.weight", config.vocab_size, width_);
  bias_.load(loader, "text.relative_bias.weight", config.num_buckets, num_heads_,
             config.max_distance, max_tokens_, true);
  layers_.assign(static_cast<std::size_t>(config.num_layers), Layer{});
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = "text.layers." + std::to_string(i);
    Layer& layer = layers_[i];
    layer.norm1 = loader.rms_norm(prefix + ".norm1", width_, config.eps);
    layer.qkv =
        loader.linear(prefix + ".attention", {"query", "key", "value"}, width_, inner, false);
    layer.output = loader.linear(prefix + ".attention", {"output"}, inner, width_, false);
    layer.norm2 = loader.rms_norm(prefix + ".norm2", width_, config.eps);
    layer.mlp.load(loader, prefix + ".mlp", width_, mlp_dim_);
  }
  norm_ = loader.rms_norm("text.norm", width_, config.eps);
}

void TextEncoder::need(Workspace& space) const noexcept {
  space.need(max_tokens_, width_, num_heads_ * head_dim_, 2 * mlp_dim_);
}

void TextEncoder::layout(Arena& arena) noexcept {
  x_ = {arena.floats(static_cast<std::size_t>(max_tokens_ * width_)), width_};
}

View TextEncoder::run(Compute& compute, const Workspace& space, const std::int32_t* ids,
                      std::int64_t count) noexcept {
  const std::int64_t inner = num_heads_ * head_dim_;
  for (std::int64_t i = 0; i < count; ++i) embed(ids[i], x_.row(i));
  HeadsArgs heads{};
  heads.q = space.qkv;
  heads.k = space.qkv.columns(inner);
  heads.v = space.qkv.columns(2 * inner);
  heads.o = space.o;
  heads.bias = bias_.center();
  heads.bias_head_stride = bias_.head_stride();
  heads.bias_row_stride = -1;
  heads.num_heads = num_heads_;
  heads.head_dim = head_dim_;
  heads.num_queries = heads.num_keys = count;
  heads.scale = 1.0f;
  for (const Layer& layer : layers_) {
    compute.norm(layer.norm1, x_, space.y, count);
    compute.linear(layer.qkv, space.y, space.qkv, count);
    compute.attend(heads);
    compute.linear(layer.output, space.o, x_, count, Activation::kNone, x_);
    compute.norm(layer.norm2, x_, space.y, count);
    layer.mlp.run(compute, space, space.y, x_, count);
  }
  compute.norm(norm_, x_, x_, count);
  return x_;
}

}  // namespace tokenfuse
