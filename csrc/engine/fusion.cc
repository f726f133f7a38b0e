#include "engine/fusion.h"

#include <cmath>

#include "engine/load_layers.h"

namespace tokenfuse {

void Fusion::load(Loader& loader, const ModelConfig& config) {
  const FusionConfig& fusion = config.fusion;
  width_ = fusion.width;
  num_heads_ = fusion.num_heads;
  mlp_dim_ = fusion.mlp_dim;
  num_latents_ = fusion.num_latents;
  text_width_ = config.text.width;
  activation_ = fusion.activation;
  text_resampler_.load(loader, fusion, "text_projection", "fusion.text_resampler", text_width_,
                       config.text.max_tokens, false);
  iterations_.assign(static_cast<std::size_t>(fusion.num_iterations), Iteration{});
  for (std::size_t i = 0; i < iterations_.size(); ++i) {
    const std::string prefix = "fusion.iterations." + std::to_string(i);
    load_iteration(loader, fusion, prefix, iterations_[i]);
    iterations_[i].norm_image = loader.layer_norm(prefix + ".norm_image", width_, fusion.eps);
    iterations_[i].key_value =
        loader.linear(prefix + ".attention", {"key", "value"}, width_, width_, true);
  }
  norm_ = loader.layer_norm("fusion.norm", width_, fusion.eps);
  projection_ = loader.linear("fused_projection", {""}, width_, text_width_, true);
}

void Fusion::need(Workspace& space) const noexcept {
  space.need(num_latents_, width_, width_, mlp_dim_);
}

void Fusion::layout(Arena& arena) noexcept {
  const auto view = [&](std::int64_t columns) {
    return View{arena.floats(static_cast<std::size_t>(num_latents_ * columns)), columns};
  };
  text_resampler_.layout(arena);
  t_ = view(width_);
  original_ = view(width_);
  p_ = view(width_);
  f_ = view(width_);
  key_values_ = view(2 * width_);
  fused_ = view(text_width_);
}

void Fusion::run_iteration(Compute& compute, const Workspace& space, const Iteration& iteration,
                           View f, std::int64_t num_latents) noexcept {
  const Activation none = Activation::kNone;
  compute.chain({{&iteration.query, &iteration.norm_text, t_, p_, space.y, none, {}},
                 {&iteration.key_value, &iteration.norm_image, f, f_, key_values_, none, {}}},
                num_latents);
  HeadsArgs heads{};
  heads.q = space.y;
  heads.k = key_values_;
  heads.v = key_values_.columns(width_);
  heads.o = space.o;
  heads.num_heads = num_heads_;
  heads.head_dim = width_ / num_heads_;
  heads.num_queries = heads.num_keys = num_latents;
  heads.scale = 1.0f / std::sqrt(static_cast<float>(heads.head_dim));
  compute.attend(heads);
  // P = LN(t) + tanh(alpha) Phi; F = P + tanh(beta) MLP(P).
  compute.chain({{&iteration.output, nullptr, space.o, {}, p_, none, p_},
                 {&iteration.up, nullptr, p_, {}, space.h, activation_, {}},
                 {&iteration.down, nullptr, space.h, {}, p_, none, p_}},
                num_latents);
  compute.gated_add(iteration.lambda, p_.data, iteration.mu, original_.data, t_.data,
                    num_latents * width_);
  SelfLayer::run(compute, space, iteration.layers, t_, num_latents);
}

View Fusion::run(Compute& compute, const Workspace& space, View text, std::int64_t count, View f,
                 std::int64_t num_latents) noexcept {
  text_resampler_.run(compute, text, count, num_latents, original_, nullptr);
  // t = t_N at the start.
  compute.gated_add(1.0f, original_.data, 0.0f, original_.data, t_.data, num_latents * width_);
  for (const Iteration& iteration : iterations_) {
    run_iteration(compute, space, iteration, f, num_latents);
  }
  compute.norm(norm_, t_, t_, num_latents);
  compute.linear(projection_, t_, fused_, num_latents);
  return fused_;
}

}  // namespace tokenfuse
