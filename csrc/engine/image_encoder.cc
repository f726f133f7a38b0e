#include "engine/image_encoder.h"

#include <algorithm>

namespace tokenfuse {

ImageEncoder::Conv ImageEncoder::load_conv(Loader& loader, const std::string& name,
                                           const Conv2dShape& shape, Activation activation) {
  const std::vector<float> weight = loader.read(
      name + ".weight", {shape.out_channels, shape.in_channels, shape.kernel, shape.kernel});
  float* packed = loader.space(conv2d_packed_floats(loader.kernel(), shape));
  if (packed != nullptr) {
    std::vector<float> temporary(weight.size());
    conv2d_pack(loader.kernel(), shape, weight.data(), temporary.data(), packed);
  }
  return {shape, packed, loader.keep(name + ".bias", {shape.out_channels}), activation};
}

void ImageEncoder::load(Loader& loader, const VisionConfig& config) {
  num_tokens_ = config.num_tokens();
  width_ = config.width;
  mlp_dim_ = config.mlp_dim;
  num_first_ = config.num_class_tokens();
  stem_.clear();
  layers_.clear();
  std::int64_t side = config.image_size, channels = 3;
  for (std::size_t i = 0; i < config.stem_widths.size(); ++i) {
    const Conv2dShape shape{side, side, channels, config.stem_widths[i], 3, 2, 1};
    stem_.push_back(
        load_conv(loader, "vision.stem." + std::to_string(i), shape, config.activation));
    side = shape.out_height();
    channels = shape.out_channels;
  }
  const std::int64_t kernel = config.patch_size >> config.stem_widths.size();
  patch_shape_ = {side, side, channels, width_, kernel, kernel, 0};
  const std::vector<float> weight =
      loader.read("vision.patch.weight", {width_, channels, kernel, kernel});
  std::vector<float> matrix(weight.size());
  conv2d_matrix(patch_shape_, weight.data(), matrix.data());
  patch_ =
      loader.pack(matrix, loader.read("vision.patch.bias", {width_}), patch_shape_.patch(), width_);
  if (num_first_ > 0) first_ = loader.keep("vision.class_token", {num_first_, width_});
  position_ = loader.keep("vision.position", {num_tokens_, width_});
  layers_.resize(static_cast<std::size_t>(config.num_layers));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].load(loader, "vision.layers." + std::to_string(i), width_, config.num_heads,
                    mlp_dim_, config.activation, config.eps);
  }
  norm_ = loader.layer_norm("vision.norm", width_, config.eps);
}

void ImageEncoder::need(Workspace& space) const noexcept {
  // The patches lie where a layer has its hidden rows.
  space.need(num_tokens_, width_, width_, std::max(mlp_dim_, patch_.num_in));
}

void ImageEncoder::layout(Arena& arena, int num_threads) noexcept {
  x_ = {arena.floats(static_cast<std::size_t>(num_tokens_ * width_)), width_};
  std::size_t largest_map = 0, largest_scratch = 0;
  for (const Conv& conv : stem_) {
    const Conv2dShape& shape = conv.shape;
    largest_scratch = std::max(largest_scratch, conv2d_scratch_floats(shape));
    const auto map = shape.out_height() * shape.out_width() * shape.out_channels;
    largest_map = std::max(largest_map, static_cast<std::size_t>(map));
  }
  for (float*& map : maps_) map = arena.floats(largest_map);
  conv_scratch_ = arena.floats(largest_scratch * static_cast<std::size_t>(num_threads));
}

View ImageEncoder::run(Compute& compute, const Workspace& space, const float* image) noexcept {
  const float* from = image;
  for (std::size_t i = 0; i < stem_.size(); ++i) {
    const Conv& conv = stem_[i];
    float* to = maps_[i % 2];
    conv2d(compute.linear_kernel(), conv.shape, from, conv.packed, conv.bias, conv.activation, to,
           conv_scratch_, compute.pool());
    from = to;
  }
  const std::int64_t across = patch_shape_.out_width();
  const View patches{space.h.data, patch_.num_in}, position{const_cast<float*>(position_), width_};
  compute.pool().parallel_for(patch_shape_.out_height(), [&](std::int64_t row, int) {
    conv2d_patches(patch_shape_, from, row, patches.row(row * across));
  });
  compute.linear(patch_, patches, x_.rows(num_first_), num_tokens_ - num_first_, Activation::kNone,
                 position.rows(num_first_));
  if (num_first_ > 0) {
    compute.gated_add(1.0f, first_, 1.0f, position_, x_.data, num_first_ * width_);
  }
  SelfLayer::run(compute, space, layers_, x_, num_tokens_);
  compute.norm(norm_, x_, x_, num_tokens_);
  return x_;
}

}  // namespace tokenfuse
