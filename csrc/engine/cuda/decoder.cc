#include "engine/cuda/decoder.h"

#include <algorithm>

#include "engine/layers.h"
#include "kernels/log_sum_exp/cuda.h"

namespace tokenfuse::cuda {

void Decoder::load(Loader& loader, const ModelConfig& config, const Table& embedding) {
  const DecoderConfig& decoder = config.decoder;
  width_ = config.text.width;
  mlp_dim_ = decoder.mlp_dim;
  num_heads_ = static_cast<int>(decoder.num_heads);
  head_dim_ = static_cast<int>(decoder.head_dim);
  max_tokens_ = static_cast<int>(decoder.max_tokens);
  num_latents_ = static_cast<int>(config.fusion.num_latents);
  embedding_ = embedding;
  const std::int64_t inner = decoder.num_heads * decoder.head_dim;
  bias_ = loader.keep(relative_bias_lines(
      loader.read("decoder.relative_bias.weight", {config.text.num_buckets, decoder.num_heads}),
      config.text.num_buckets, decoder.num_heads, config.text.max_distance, decoder.max_tokens,
      false));
  layers_.assign(static_cast<std::size_t>(decoder.num_layers), Layer{});
  std::vector<float> key_values;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::string prefix = "decoder.layers." + std::to_string(i);
    const std::string self = prefix + ".self_attention", cross = prefix + ".cross_attention";
    Layer& layer = layers_[i];
    layer.norm1 = loader.rms_norm(prefix + ".norm1", width_, decoder.eps);
    layer.qkv = loader.linear(self, {"query", "key", "value"}, width_, inner, false);
    layer.self_output = loader.linear(self, {"output"}, inner, width_, false);
    layer.norm2 = loader.rms_norm(prefix + ".norm2", width_, decoder.eps);
    layer.query = loader.linear(cross, {"query"}, width_, inner, false);
    for (const char* part : {".key.weight", ".value.weight"}) {
      const std::vector<float> own = loader.read(cross + part, {inner, width_});
      key_values.insert(key_values.end(), own.begin(), own.end());
    }
    layer.cross_output = loader.linear(cross, {"output"}, inner, width_, false);
    layer.mlp.load(loader, prefix + ".norm3", prefix + ".mlp", width_, mlp_dim_, decoder.eps);
  }
  key_values_of_fused_ = loader.pack(key_values, {}, width_, 2 * inner * decoder.num_layers);
  norm_ = loader.rms_norm("decoder.norm", width_, decoder.eps);
  lm_head_ = loader.linear("decoder.lm_head", {""}, width_, config.text.vocab_size, false);
}

void Decoder::need(Space& space, int batch) const noexcept {
  // One answer whole, or one step of all.
  space.need(std::max(batch, max_tokens_), width_, std::int64_t{num_heads_} * head_dim_, mlp_dim_);
}

void Decoder::layout(DeviceArena& arena, int batch) {
  const std::int64_t inner = std::int64_t{num_heads_} * head_dim_;
  const auto take16 = [&](std::int64_t count) {
    return arena.bytes(static_cast<std::size_t>(count) * sizeof(std::uint16_t));
  };
  rows_ = std::max(batch, max_tokens_);
  x_ = arena.many<float>(rows_ * width_);
  logits_ = arena.many<float>(std::int64_t{rows_} * vocab_size());
  top_ = arena.many<int>(rows_);
  log_prob_ = arena.many<float>(rows_);
  for (Layer& layer : layers_) {
    layer.own = take16(std::int64_t{batch} * max_tokens_ * 3 * inner);
  }
  fused_ = take16(std::int64_t{batch} * num_latents_ * key_values_of_fused_.num_out);
}

void Decoder::begin(const Compute& compute, const void* fused, int batch, int count) const {
  compute.linear(key_values_of_fused_, batch * count, {.x16 = fused, .y16 = fused_});
}

void Decoder::run(const Compute& compute, const Space& space, const Pass& pass) const {
  const std::int64_t inner = std::int64_t{num_heads_} * head_dim_;
  const int rows = pass.batch * pass.count;
  AttentionArgs self{};
  self.type = compute.type;
  self.o = space.o;
  self.ldq = self.ldk = self.ldv = 3 * inner;
  self.ldo = inner;
  self.batch_stride_q = self.batch_stride_k = self.batch_stride_v = max_tokens_ * self.ldq;
  self.batch_stride_o = pass.count * inner;
  self.bias = bias_ + max_tokens_ - 1;
  self.bias_head_stride = 2 * max_tokens_ - 1;
  self.first = pass.position;
  self.batch = pass.batch;
  self.num_heads = num_heads_;
  self.head_dim = head_dim_;
  self.num_queries = pass.count;
  // With a position on the device, at most so many.
  self.num_keys = pass.position == nullptr ? pass.count : max_tokens_;
  self.scale = 1.0f;
  AttentionArgs cross{};
  cross.type = compute.type;
  cross.q = space.qkv;
  cross.o = space.o;
  cross.ldq = cross.ldo = inner;
  cross.ldk = cross.ldv = key_values_of_fused_.num_out;
  cross.batch_stride_q = cross.batch_stride_o = pass.count * inner;
  cross.batch_stride_k = cross.batch_stride_v = pass.share_fused ? 0 : pass.num_fused * cross.ldk;
  cross.batch = pass.batch;
  cross.num_heads = num_heads_;
  cross.head_dim = head_dim_;
  cross.num_queries = pass.count;
  cross.num_keys = pass.num_fused;
  cross.scale = 1.0f;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    compute.linear(layer.qkv, rows,
                   {.x32 = x_,
                    .norm = &layer.norm1,
                    .y16 = layer.own,
                    .group = pass.count,
                    .y_group = max_tokens_,
                    .y_row = pass.position});
    self.q = layer.own;
    self.k = columns(layer.own, inner);
    self.v = columns(layer.own, 2 * inner);
    attention(*compute.stream, compute.device, self);
    compute.linear(layer.self_output, rows, {.x16 = space.o, .y32 = x_, .residual = x_});
    compute.linear(layer.query, rows, {.x32 = x_, .norm = &layer.norm2, .y16 = space.qkv});
    cross.k = columns(fused_, 2 * static_cast<std::int64_t>(i) * inner);
    cross.v = columns(cross.k, inner);
    attention(*compute.stream, compute.device, cross);
    compute.linear(layer.cross_output, rows, {.x16 = space.o, .y32 = x_, .residual = x_});
    layer.mlp.run(compute, space, x_, rows);
  }
  compute.linear(lm_head_, rows, {.x32 = x_, .norm = &norm_, .y32 = logits_});
}

void Decoder::step(const Compute& compute, const Space& space, const DecoderState& state,
                   int num_fused) const {
  embed(*compute.stream, embedding_, state.fed, state.batch, x_);
  run(compute, space, {state.batch, 1, state.position, num_fused, false});
  log_sum_exp(*compute.stream,
              {logits_, vocab_size(), nullptr, top_, log_prob_, state.batch, vocab_size()});
  take_next(*compute.stream, state, top_, log_prob_);
}

const float* Decoder::all(const Compute& compute, const Space& space, const int* ids, int batch,
                          int count, int num_fused, bool share_fused) const {
  embed(*compute.stream, embedding_, ids, batch * count, x_);
  run(compute, space, {batch, count, nullptr, num_fused, share_fused});
  return logits_;
}

}  // namespace tokenfuse::cuda
