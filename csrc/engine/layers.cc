#include "engine/layers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/load_layers.h"

namespace tokenfuse {

void Workspace::need(std::int64_t new_rows, std::int64_t new_width, std::int64_t new_inner,
                     std::int64_t new_hidden) noexcept {
  rows = std::max(rows, new_rows);
  width = std::max(width, new_width);
  inner = std::max(inner, new_inner);
  hidden = std::max(hidden, new_hidden);
}

void Workspace::layout(Arena& arena) noexcept {
  const auto view = [&](std::int64_t columns) {
    return View{arena.floats(static_cast<std::size_t>(rows * columns)), columns};
  };
  y = view(width);
  qkv = view(3 * inner);
  o = view(inner);
  h = view(hidden);
}

void SelfLayer::load(Loader& loader, const std::string& prefix, std::int64_t width,
                     std::int64_t heads, std::int64_t mlp_dim, Activation act, float eps) {
  num_heads = heads;
  head_dim = width / heads;
  activation = act;
  load_self_layer(loader, prefix, width, mlp_dim, eps, *this);
}

Link SelfLayer::to_qkv(const Workspace& space, View x) const noexcept {
  return {&qkv, &norm1, x, space.y, space.qkv, Activation::kNone, {}};
}

void SelfLayer::attend(Compute& compute, const Workspace& space, std::int64_t rows) const noexcept {
  const std::int64_t inner = num_heads * head_dim;
  HeadsArgs heads{};
  heads.q = space.qkv;
  heads.k = space.qkv.columns(inner);
  heads.v = space.qkv.columns(2 * inner);
  heads.o = space.o;
  heads.num_heads = num_heads;
  heads.head_dim = head_dim;
  heads.num_queries = heads.num_keys = rows;
  heads.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  compute.attend(heads);
}

void SelfLayer::run(Compute& compute, const Workspace& space, const std::vector<SelfLayer>& layers,
                    View x, std::int64_t rows) noexcept {
  if (layers.empty()) return;
  compute.chain({layers[0].to_qkv(space, x)}, rows);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const SelfLayer& layer = layers[i];
    layer.attend(compute, space, rows);
    // Only attention mixes rows: all from it to the next one is a chain.
    const Link output{&layer.output, nullptr, space.o, {}, x, Activation::kNone, x};
    const Link up{&layer.up, &layer.norm2, x, space.y, space.h, layer.activation, {}};
    const Link down{&layer.down, nullptr, space.h, {}, x, Activation::kNone, x};
    if (i + 1 < layers.size()) {
      compute.chain({output, up, down, layers[i + 1].to_qkv(space, x)}, rows);
    } else {
      compute.chain({output, up, down}, rows);
    }
  }
}

void GatedMlp::load(Loader& loader, const std::string& prefix, std::int64_t width,
                    std::int64_t mlp_dim) {
  hidden = mlp_dim;
  gate_up = loader.linear(prefix, {"gate", "up"}, width, mlp_dim, false);
  down = loader.linear(prefix, {"down"}, mlp_dim, width, false);
}

void GatedMlp::run(Compute& compute, const Workspace& space, View y, View x,
                   std::int64_t rows) const noexcept {
  compute.linear(gate_up, y, space.h, rows);
  compute.gated_gelu(space.h, space.h.columns(hidden), space.h, rows, hidden);
  compute.linear(down, space.h, x, rows, Activation::kNone, x);
}

std::int64_t relative_bucket(std::int64_t distance, bool bidirectional, std::int64_t num_buckets,
                             std::int64_t max_distance) noexcept {
  std::int64_t offset = 0;
  if (bidirectional) {
    num_buckets /= 2;
    if (distance > 0) offset = num_buckets;
    distance = std::abs(distance);
  } else {
    distance = std::max<std::int64_t>(-distance, 0);
  }
  const std::int64_t exact = num_buckets / 2;
  if (distance < exact) return offset + distance;
  // In float32, as the reference: at exact powers the rounding decides.
  const float log_max =
      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact)));
  const float ratio = std::log(static_cast<float>(distance) / static_cast<float>(exact)) / log_max;
  const auto far =
      exact + static_cast<std::int64_t>(ratio * static_cast<float>(num_buckets - exact));
  return offset + std::min(far, num_buckets - 1);
}

std::vector<float> relative_bias_lines(const std::vector<float>& weight, std::int64_t num_buckets,
                                       std::int64_t num_heads, std::int64_t max_distance,
                                       std::int64_t max_tokens, bool bidirectional) {
  const std::int64_t length = 2 * max_tokens - 1;
  std::vector<float> lines(static_cast<std::size_t>(num_heads * length));
  for (std::int64_t head = 0; head < num_heads; ++head) {
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t distance = i - (max_tokens - 1);
      const std::int64_t bucket =
          relative_bucket(distance, bidirectional, num_buckets, max_distance);
      // A decoder must not see the keys ahead.
      lines[static_cast<std::size_t>(head * length + i)] =
          !bidirectional && distance > 0
              ? -std::numeric_limits<float>::infinity()
              : weight[static_cast<std::size_t>(bucket * num_heads + head)];
    }
  }
  return lines;
}

void RelativeBias::load(Loader& loader, const std::string& name, std::int64_t num_buckets,
                        std::int64_t num_heads, std::int64_t max_distance, std::int64_t max_tokens,
                        bool bidirectional) {
  max_tokens_ = max_tokens;
  table_ = loader.keep(relative_bias_lines(loader.read(name, {num_buckets, num_heads}), num_buckets,
                                           num_heads, max_distance, max_tokens, bidirectional));
}

}  // namespace tokenfuse
