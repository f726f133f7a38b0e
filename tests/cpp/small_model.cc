#include "small_model.h"

#include <cmath>
#include <utility>

namespace tokenfuse::test {
namespace {

// Sums keep the size of their inputs: uniform numbers below 1 have a mean square of 1/3.
float gain(std::int64_t num_in) { return std::sqrt(3.0f / static_cast<float>(num_in)); }

}  // namespace

ModelConfig wide_config() {
  ModelConfig config{};
  config.vision = {64, 4, 64, 1, 4, 128, {16}, false, false, Activation::kGelu, 1e-6f};
  config.text = {96, 64, 1, 4, 16, 64, 48, 8, 20, 1e-6f};
  config.fusion = {
      64,   4, 128, 16, 2, 2, {4, 8, 16}, "joint_adaptive", "latent", "weighted", Activation::kGelu,
      1e-6f};
  config.decoder = {2, 4, 16, 64, 12, 1e-6f};
  return config;
}

ModelConfig odd_config() {
  ModelConfig config{};
  config.vision = {24, 8, 36, 0, 3, 50, {5, 7}, true, true, Activation::kGeluTanh, 1e-6f};
  config.text = {61, 30, 2, 3, 7, 41, 19, 8, 5, 1e-6f};
  config.fusion = {33,
                   3,
                   37,
                   5,
                   1,
                   1,
                   {1, 3, 5},
                   "joint_adaptive",
                   "latent",
                   "residual",
                   Activation::kGeluTanh,
                   1e-6f};
  config.decoder = {1, 2, 9, 45, 7, 1e-6f};
  return config;
}

ModelConfig narrow_config() {
  ModelConfig config = odd_config();
  config.vision = {24, 8, 48, 1, 2, 50, {8, 16}, true, true, Activation::kGeluTanh, 1e-6f};
  config.text.head_dim = 8;
  config.fusion.width = 40;
  config.fusion.num_heads = 5;
  config.decoder.head_dim = 16;
  return config;
}

ModelConfig projected_config() {
  ModelConfig config = wide_config();
  config.vision.image_size = 24;
  config.vision.class_token = true;
  config.fusion.num_heads = 16;
  config.fusion.num_latents = 33;
  config.fusion.token_budgets = {2, 33};
  config.fusion.combination = "none";
  return config;
}

SmallModel::SmallModel(ModelConfig model) : config(std::move(model)) {
  const TextConfig& text = config.text;
  const DecoderConfig& decoder = config.decoder;
  add_vision();
  linear("image_projection", config.vision.width, config.fusion.width);
  linear("text_projection", text.width, config.fusion.width);
  linear("fused_projection", config.fusion.width, text.width);
  add("embedding.weight", {text.vocab_size, text.width}, 1.0f);
  add_t5("text", text.num_layers, text.num_heads, text.head_dim, text.mlp_dim, false);
  add_t5("decoder", decoder.num_layers, decoder.num_heads, decoder.head_dim, decoder.mlp_dim, true);
  linear("decoder.lm_head", text.width, text.vocab_size, false);
  add_fusion();
}

Rows SmallModel::image(std::uint64_t seed) const {
  const std::int64_t size = config.vision.image_size;
  return Rows::random(seed, 1.0f, size, size * 3);
}

std::vector<std::int32_t> SmallModel::ids(std::uint64_t seed, std::int64_t count) const {
  Random random(seed);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  const auto vocab = static_cast<std::uint64_t>(config.text.vocab_size);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(2 + random.next() % (vocab - 2));
  return ids;
}

void SmallModel::add(const std::string& name, std::vector<std::int64_t> shape, float scale,
                     float center) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  const auto at = values_.emplace(name, Rows::random(values_.size() + 1, scale, 1, count)).first;
  for (std::int64_t i = 0; i < count; ++i) at->second.at(0, i) += center;
  tensors[name] = {at->second.data(), false, std::move(shape)};
}

void SmallModel::linear(const std::string& name, std::int64_t num_in, std::int64_t num_out,
                        bool bias) {
  add(name + ".weight", {num_out, num_in}, gain(num_in));
  if (bias) add(name + ".bias", {num_out}, 0.3f);
}

void SmallModel::conv(const std::string& name, std::int64_t num_in, std::int64_t num_out,
                      std::int64_t kernel) {
  add(name + ".weight", {num_out, num_in, kernel, kernel}, gain(num_in * kernel * kernel));
  add(name + ".bias", {num_out}, 0.3f);
}

void SmallModel::layer_norm(const std::string& name, std::int64_t width) {
  add(name + ".weight", {width}, 0.3f, 1.0f);
  add(name + ".bias", {width}, 0.3f);
}

void SmallModel::attention(const std::string& name, std::int64_t width) {
  for (const char* part : {".query", ".key", ".value", ".output"}) {
    linear(name + part, width, width);
  }
}

void SmallModel::layers(const std::string& name, std::int64_t count, std::int64_t width,
                        std::int64_t mlp_dim) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string prefix = name + "." + std::to_string(i);
    layer_norm(prefix + ".norm1", width);
    layer_norm(prefix + ".norm2", width);
    attention(prefix + ".attention", width);
    linear(prefix + ".mlp.up", width, mlp_dim);
    linear(prefix + ".mlp.down", mlp_dim, width);
  }
}

void SmallModel::add_vision() {
  const VisionConfig& vision = config.vision;
  std::int64_t channels = 3;
  for (std::size_t i = 0; i < vision.stem_widths.size(); ++i) {
    conv("vision.stem." + std::to_string(i), channels, vision.stem_widths[i], 3);
    channels = vision.stem_widths[i];
  }
  conv("vision.patch", channels, vision.width, vision.patch_size >> vision.stem_widths.size());
  const std::int64_t num_first = vision.num_class_tokens();
  if (num_first > 0) add("vision.class_token", {num_first, vision.width}, 1.0f);
  add("vision.position", {vision.num_tokens(), vision.width}, 0.5f);
  layers("vision.layers", vision.num_layers, vision.width, vision.mlp_dim);
  layer_norm("vision.norm", vision.width);
}

void SmallModel::add_t5(const std::string& name, std::int64_t count, std::int64_t heads,
                        std::int64_t head_dim, std::int64_t mlp_dim, bool decoder) {
  const std::int64_t width = config.text.width, inner = heads * head_dim;
  add(name + ".relative_bias.weight", {config.text.num_buckets, heads}, 1.0f);
  add(name + ".norm.weight", {width}, 0.3f, 1.0f);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string prefix = name + ".layers." + std::to_string(i);
    std::vector<std::string> attentions{prefix + ".attention"};
    if (decoder) attentions = {prefix + ".self_attention", prefix + ".cross_attention"};
    for (std::size_t norm = 0; norm <= attentions.size(); ++norm) {
      add(prefix + ".norm" + std::to_string(norm + 1) + ".weight", {width}, 0.3f, 1.0f);
    }
    for (const std::string& one : attentions) {
      // T5 has no softmax scale: its queries are smaller instead.
      const float scale = gain(width) / std::sqrt(static_cast<float>(head_dim));
      add(one + ".query.weight", {inner, width}, scale);
      linear(one + ".key", width, inner, false);
      linear(one + ".value", width, inner, false);
      linear(one + ".output", inner, width, false);
    }
    linear(prefix + ".mlp.gate", width, mlp_dim, false);
    linear(prefix + ".mlp.up", width, mlp_dim, false);
    linear(prefix + ".mlp.down", mlp_dim, width, false);
  }
}

void SmallModel::add_fusion() {
  const FusionConfig& fusion = config.fusion;
  for (const char* resampler : {"fusion.image_resampler", "fusion.text_resampler"}) {
    const std::string prefix = resampler;
    add(prefix + ".latents", {fusion.num_latents, fusion.width}, 1.0f);
    attention(prefix + ".attention", fusion.width);
  }
  for (std::int64_t i = 0; i < fusion.num_iterations; ++i) {
    const std::string prefix = "fusion.iterations." + std::to_string(i);
    for (const char* name : {".alpha", ".beta", ".lambda_", ".mu"}) add(prefix + name, {}, 1.0f);
    layer_norm(prefix + ".norm_text", fusion.width);
    layer_norm(prefix + ".norm_image", fusion.width);
    attention(prefix + ".attention", fusion.width);
    linear(prefix + ".mlp.up", fusion.width, fusion.mlp_dim);
    linear(prefix + ".mlp.down", fusion.mlp_dim, fusion.width);
    layers(prefix + ".layers", fusion.num_layers / fusion.num_iterations, fusion.width,
           fusion.mlp_dim);
  }
  layer_norm("fusion.norm", fusion.width);
}

}  // namespace tokenfuse::test
