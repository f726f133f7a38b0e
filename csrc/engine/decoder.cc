#include "engine/decoder.h"

namespace tokenfuse {

void Decoder::load(Loader& loader, const ModelConfig& config) {
  const DecoderConfig& decoder = config.decoder;
  width_ = config.text.width;
  num_heads_ = decoder.num_heads;
  head_dim_ = decoder.head_dim;
  mlp_dim_ = decoder.mlp_dim;
  max_tokens_ = decoder.max_tokens;
  vocab_size_ = config.text.vocab_size;
  num_latents_ = config.fusion.num_latents;
  const std::int64_t inner = num_heads_ * head_dim_;
  bias_.load(loader, "decoder.relative_bias.weight", config.text.num_buckets, num_heads_,
             config.text.max_distance, max_tokens_, false);
  layers_.assign(static_cast<std::size_t>(decoder.num_layers), Layer{});
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = "decoder.layers." + std::to_string(i);
    const std::string self = prefix + ".self_attention", cross = prefix + ".cross_attention";
    Layer& layer = layers_[i];
    layer.norm1 = loader.rms_norm(prefix + ".norm1", width_, decoder.eps);
    layer.qkv = loader.linear(self, {"query", "key", "value"}, width_, inner, false);
    layer.self_output = loader.linear(self, {"output"}, inner, width_, false);
    layer.norm2 = loader.rms_norm(prefix + ".norm2", width_, decoder.eps);
    layer.query = loader.linear(cross, {"query"}, width_, inner, false);
    layer.key_value = loader.linear(cross, {"key", "value"}, width_, inner, false);
    layer.cross_output = loader.linear(cross, {"output"}, inner, width_, false);
    layer.norm3 = loader.rms_norm(prefix + ".norm3", width_, decoder.eps);
    layer.mlp.load(loader, prefix + ".mlp", width_, mlp_dim_);
  }
  norm_ = loader.rms_norm("decoder.norm", width_, decoder.eps);
  lm_head_ = loader.linear("decoder.lm_head", {""}, width_, vocab_size_, false);
}

void Decoder::need(Workspace& space) const noexcept {
  space.need(max_tokens_, width_, num_heads_ * head_dim_, 2 * mlp_dim_);
}

void Decoder::layout(Arena& arena) noexcept {
  const auto view = [&](std::int64_t rows, std::int64_t columns) {
    return View{arena.floats(static_cast<std::size_t>(rows * columns)), columns};
  };
  const std::int64_t inner = num_heads_ * head_dim_;
  x_ = view(max_tokens_, width_);
  logits_ = view(max_tokens_, vocab_size_);
  for (Layer& layer : layers_) {
    layer.own = view(max_tokens_, 3 * inner);
    layer.fused = view(num_latents_, 2 * inner);
  }
}

void Decoder::begin(Compute& compute, View fused, std::int64_t count) noexcept {
  num_fused_ = count;
  for (const Layer& layer : layers_) compute.linear(layer.key_value, fused, layer.fused, count);
}

View Decoder::step(Compute& compute, const Workspace& space, const TextEncoder& text,
                   const std::int32_t* ids, std::int64_t first, std::int64_t count) noexcept {
  const std::int64_t inner = num_heads_ * head_dim_;
  for (std::int64_t i = 0; i < count; ++i) text.embed(ids[i], x_.row(i));
  HeadsArgs self{};
  self.o = space.o;
  self.bias = bias_.center() - first;
  self.bias_head_stride = bias_.head_stride();
  self.bias_row_stride = -1;
  self.num_heads = num_heads_;
  self.head_dim = head_dim_;
  self.num_queries = count;
  self.num_keys = first + count;
  self.scale = 1.0f;
  HeadsArgs cross = self;
  cross.bias = nullptr;
  cross.q = space.qkv;
  cross.num_keys = num_fused_;
  for (const Layer& layer : layers_) {
    self.q = {layer.own.row(first), layer.own.stride};
    self.k = layer.own.columns(inner);
    self.v = layer.own.columns(2 * inner);
    compute.norm(layer.norm1, x_, space.y, count);
    compute.linear(layer.qkv, space.y, self.q, count);
    compute.attend(self);
    compute.linear(layer.self_output, space.o, x_, count, Activation::kNone, x_);
    compute.norm(layer.norm2, x_, space.y, count);
    compute.linear(layer.query, space.y, space.qkv, count);
    cross.k = layer.fused;
    cross.v = layer.fused.columns(inner);
    compute.attend(cross);
    compute.linear(layer.cross_output, space.o, x_, count, Activation::kNone, x_);
    compute.norm(layer.norm3, x_, space.y, count);
    layer.mlp.run(compute, space, space.y, x_, count);
  }
  compute.norm(norm_, x_, x_, count);
  compute.linear(lm_head_, x_, logits_, count);
  return logits_;
}

}  // namespace tokenfuse
