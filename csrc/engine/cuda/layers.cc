#include "engine/cuda/layers.h"

#include <algorithm>
#include <cmath>

#include "engine/load_layers.h"

namespace tokenfuse::cuda {
namespace {

// A linear that takes norms reads its rows once for every 64 outputs, by tiles of 32 rows. With
// more of these than two for each multiprocessor, a launch for the norm alone costs less.
bool norm_apart(const DeviceInfo& device, std::int64_t rows, const Linear& weights) {
  // Only rows that need no padding: nobody would write it.
  if (weights.num_in % 8 != 0 || weights.num_out <= 64) return false;
  const std::int64_t tiles = (rows + 31) / 32 * ((weights.num_out + 63) / 64);
  return tiles > 2 * std::int64_t{device.num_multiprocessors};
}

}  // namespace

void Compute::linear(const Linear& weights, int rows, const LinearCall& call) const {
  LinearArgs args{};
  args.type = type;
  args.x16 = call.x16;
  args.x32 = call.x32;
  const bool apart = call.norm != nullptr && norm_apart(device, rows, weights);
  if (apart) {
    norm16(*call.norm, call.x32, rows, normed);
    args.x16 = normed;
    args.x32 = nullptr;
  }
  args.ldx = args.x16 != nullptr ? padded(weights.num_in) : weights.num_in;
  if (call.norm != nullptr && !apart) {
    args.norm = call.norm->bias == nullptr ? NormKind::kRms : NormKind::kLayer;
    args.norm_weight = call.norm->weight;
    args.norm_bias = call.norm->bias;
    args.norm_eps = call.norm->eps;
  }
  args.w = weights.weight;
  args.ldw = padded(weights.num_in);
  args.bias = weights.bias;
  args.activation = weights.gated ? Activation::kGeluTanh : call.activation;
  args.gated = weights.gated;
  const std::int64_t outputs = weights.gated ? weights.num_out / 2 : weights.num_out;
  args.y32 = call.y32;
  args.y16 = call.y16;
  args.ldy = call.ldy != 0 ? call.ldy : call.y16 != nullptr ? padded(outputs) : outputs;
  args.residual = call.residual;
  args.ldr = args.ldy;
  args.residual_repeats = call.residual_repeats;
  args.original = call.original;
  args.ldo = args.ldy;
  args.scale = call.scale;
  args.original_scale = call.original_scale;
  args.m = rows;
  args.n = static_cast<int>(call.y16 != nullptr ? weights.padded16() : weights.num_out);
  args.k = weights.num_in;
  args.group = call.group;
  args.y_group = call.y_group;
  args.y_row = call.y_row;
  cuda::linear(*stream, device, args);
}

void Compute::norm16(const Norm& norm, const float* x, int rows, void* y16) const {
  NormArgs args{};
  args.type = type;
  args.x = x;
  args.ldx = norm.width;
  args.weight = norm.weight;
  args.bias = norm.bias;
  args.eps = norm.eps;
  args.y16 = y16;
  args.ldy16 = padded(norm.width);
  args.m = rows;
  args.n = norm.width;
  cuda::norm(*stream, args);
}

void Space::need(std::int64_t new_rows, std::int64_t new_width, std::int64_t new_inner,
                 std::int64_t new_hidden) noexcept {
  rows = std::max(rows, new_rows);
  width = std::max(width, new_width);
  inner = std::max(inner, new_inner);
  hidden = std::max(hidden, new_hidden);
}

void Space::layout(DeviceArena& arena) {
  const auto take = [&](std::int64_t columns) {
    return arena.bytes(static_cast<std::size_t>(rows * padded(columns)) * sizeof(std::uint16_t));
  };
  normed = take(width);
  qkv = take(3 * inner);
  o = take(inner);
  h = take(hidden);
}

AttentionArgs self_attention(const Compute& compute, const void* qkv, void* o, int batch, int rows,
                             int num_heads, int head_dim, float scale) {
  const std::int64_t inner = std::int64_t{num_heads} * head_dim;
  AttentionArgs args{};
  args.type = compute.type;
  args.q = qkv;
  args.k = columns(qkv, inner);
  args.v = columns(qkv, 2 * inner);
  args.o = o;
  args.ldq = args.ldk = args.ldv = 3 * inner;
  args.ldo = inner;
  args.batch_stride_q = args.batch_stride_k = args.batch_stride_v = rows * args.ldq;
  args.batch_stride_o = rows * args.ldo;
  args.batch = batch;
  args.num_heads = num_heads;
  args.head_dim = head_dim;
  args.num_queries = args.num_keys = rows;
  args.scale = scale;
  return args;
}

void SelfLayer::load(Loader& loader, const std::string& prefix, std::int64_t width,
                     std::int64_t heads, std::int64_t mlp_dim, Activation act, float eps) {
  num_heads = static_cast<int>(heads);
  head_dim = static_cast<int>(width / heads);
  activation = act;
  load_self_layer(loader, prefix, width, mlp_dim, eps, *this);
}

void SelfLayer::run(const Compute& compute, const Space& space, float* x, int batch,
                    int rows) const {
  const int all = batch * rows;
  compute.linear(qkv, all, {.x32 = x, .norm = &norm1, .y16 = space.qkv});
  attention(*compute.stream, compute.device,
            self_attention(compute, space.qkv, space.o, batch, rows, num_heads, head_dim,
                           1.0f / std::sqrt(static_cast<float>(head_dim))));
  compute.linear(output, all, {.x16 = space.o, .y32 = x, .residual = x});
  compute.linear(up, all, {.x32 = x, .norm = &norm2, .y16 = space.h, .activation = activation});
  compute.linear(down, all, {.x16 = space.h, .y32 = x, .residual = x});
}

void GatedMlp::load(Loader& loader, const std::string& norm_name, const std::string& prefix,
                    std::int64_t width, std::int64_t mlp_dim, float eps) {
  norm = loader.rms_norm(norm_name, width, eps);
  gate_up = loader.gated(prefix, width, mlp_dim);
  down = loader.linear(prefix, {"down"}, mlp_dim, width, false);
}

void GatedMlp::run(const Compute& compute, const Space& space, float* x, int rows) const {
  compute.linear(gate_up, rows, {.x32 = x, .norm = &norm, .y16 = space.h});
  compute.linear(down, rows, {.x16 = space.h, .y32 = x, .residual = x});
}

}  // namespace tokenfuse::cuda
