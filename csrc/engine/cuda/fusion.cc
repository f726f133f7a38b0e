#include "engine/cuda/fusion.h"

#include <algorithm>
#include <cmath>

#include "engine/load_layers.h"

namespace tokenfuse::cuda {
namespace {

// Rows of `num_in` weights and a bias each, for an input of norm LN x: with weights w and bias b of
// a norm in front folded in, W (w LN x + b) + c = (W w) LN x + (W b + c). In float64.
void fold_norm(const std::vector<float>& norm_weight, const std::vector<float>& norm_bias,
               std::vector<float>& weight, std::vector<float>& bias) {
  const std::size_t num_in = norm_weight.size();
  for (std::size_t row = 0; row < bias.size(); ++row) {
    double sum = bias[row];
    for (std::size_t i = 0; i < num_in; ++i) {
      float& value = weight[row * num_in + i];
      sum += static_cast<double>(value) * norm_bias[i];
      value *= norm_weight[i];
    }
    bias[row] = static_cast<float>(sum);
  }
}

}  // namespace

void Fusion::load(Loader& loader, const ModelConfig& config) {
  const FusionConfig& fusion = config.fusion;
  width_ = fusion.width;
  text_width_ = config.text.width;
  mlp_dim_ = fusion.mlp_dim;
  num_heads_ = static_cast<int>(fusion.num_heads);
  num_latents_ = static_cast<int>(fusion.num_latents);
  activation_ = fusion.activation;
  text_resampler_.load(loader, fusion, "text_projection", "fusion.text_resampler", text_width_,
                       config.text.max_tokens, false);
  iterations_.clear();
  std::vector<float> weight, bias;
  for (std::int64_t i = 0; i < fusion.num_iterations; ++i) {
    const std::string prefix = "fusion.iterations." + std::to_string(i);
    load_iteration(loader, fusion, prefix, iterations_.emplace_back());
    const std::vector<float> norm_weight = loader.read(prefix + ".norm_image.weight", {width_});
    const std::vector<float> norm_bias = loader.read(prefix + ".norm_image.bias", {width_});
    for (const char* part : {".attention.key", ".attention.value"}) {
      std::vector<float> own = loader.read(prefix + part + ".weight", {width_, width_});
      std::vector<float> own_bias = loader.read(prefix + part + ".bias", {width_});
      fold_norm(norm_weight, norm_bias, own, own_bias);
      weight.insert(weight.end(), own.begin(), own.end());
      bias.insert(bias.end(), own_bias.begin(), own_bias.end());
    }
  }
  key_values_of_image_ = loader.pack(weight, bias, width_, static_cast<std::int64_t>(bias.size()));
  const auto lines = static_cast<std::size_t>(width_);
  norm_image_ = {loader.keep(std::vector<float>(lines, 1.0f)),
                 loader.keep(std::vector<float>(lines, 0.0f)), static_cast<int>(width_),
                 fusion.eps};
  norm_ = loader.layer_norm("fusion.norm", width_, fusion.eps);
  projection_ = loader.linear("fused_projection", {""}, width_, text_width_, true);
}

void Fusion::need(Space& space, int batch) const noexcept {
  space.need(std::int64_t{batch} * num_latents_, width_, width_, mlp_dim_);
}

void Fusion::layout(DeviceArena& arena, const DeviceInfo& device, Type type, int batch) {
  const std::int64_t rows = std::int64_t{batch} * num_latents_;
  const auto take16 = [&](std::int64_t width) {
    return arena.bytes(static_cast<std::size_t>(rows * width) * sizeof(std::uint16_t));
  };
  text_resampler_.layout(arena, device, type, batch);
  for (float** buffer : {&t_, &original_, &p_}) *buffer = arena.many<float>(rows * width_);
  query_ = take16(width_);
  key_values_ = take16(key_values_of_image_.num_out);
  fused_ = take16(padded(text_width_));
}

void Fusion::run_iteration(const Compute& compute, const Space& space, std::size_t index, int batch,
                           int num_latents) const {
  const Iteration& iteration = iterations_[index];
  const int rows = batch * num_latents;
  // P = LN(t): its rows are the residual of what follows, so the norm stands alone.
  const Norm& norm_text = iteration.norm_text;
  NormArgs normed{};
  normed.type = compute.type;
  normed.x = index == 0 ? original_ : t_;
  normed.ldx = normed.ldy32 = width_;
  normed.weight = norm_text.weight;
  normed.bias = norm_text.bias;
  normed.eps = norm_text.eps;
  normed.y32 = p_;
  normed.y16 = compute.normed;
  normed.ldy16 = padded(width_);
  normed.m = rows;
  normed.n = norm_text.width;
  norm(*compute.stream, normed);
  compute.linear(iteration.query, rows, {.x16 = compute.normed, .y16 = query_});
  AttentionArgs heads{};
  heads.type = compute.type;
  heads.q = query_;
  heads.k = columns(key_values_, 2 * static_cast<std::int64_t>(index) * width_);
  heads.v = columns(heads.k, width_);
  heads.o = space.o;
  heads.ldq = heads.ldo = width_;
  heads.ldk = heads.ldv = key_values_of_image_.num_out;
  heads.batch_stride_q = heads.batch_stride_o = num_latents * width_;
  heads.batch_stride_k = heads.batch_stride_v = num_latents * heads.ldk;
  heads.batch = batch;
  heads.num_heads = num_heads_;
  heads.head_dim = static_cast<int>(width_) / num_heads_;
  heads.num_queries = heads.num_keys = num_latents;
  heads.scale = 1.0f / std::sqrt(static_cast<float>(heads.head_dim));
  attention(*compute.stream, compute.device, heads);
  // P = LN(t) + tanh(alpha) Phi; t = lambda (P + tanh(beta) MLP(P)) + mu t_N.
  compute.linear(iteration.output, rows, {.x16 = space.o, .y32 = p_, .residual = p_});
  compute.linear(iteration.up, rows, {.x32 = p_, .y16 = space.h, .activation = activation_});
  compute.linear(iteration.down, rows,
                 {.x16 = space.h,
                  .y32 = t_,
                  .residual = p_,
                  .original = original_,
                  .scale = iteration.lambda,
                  .original_scale = iteration.mu});
  for (const SelfLayer& layer : iteration.layers) layer.run(compute, space, t_, batch, num_latents);
}

const void* Fusion::run(const Compute& compute, const Space& space, const Norm& norm,
                        const float* text, const int* counts, int batch, int length, const float* f,
                        int num_latents) const {
  text_resampler_.run(compute, norm, text, batch, length, counts, num_latents, original_, nullptr);
  const int rows = batch * num_latents;
  compute.linear(key_values_of_image_, rows, {.x32 = f, .norm = &norm_image_, .y16 = key_values_});
  for (std::size_t i = 0; i < iterations_.size(); ++i) {
    run_iteration(compute, space, i, batch, num_latents);
  }
  compute.linear(projection_, rows, {.x32 = t_, .norm = &norm_, .y16 = fused_});
  return fused_;
}

}  // namespace tokenfuse::cuda
