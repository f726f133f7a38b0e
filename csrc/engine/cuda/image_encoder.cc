#include "engine/cuda/image_encoder.h"

#include <algorithm>

namespace tokenfuse::cuda {
namespace {

std::int64_t pixels(const Conv2dShape& shape) { return shape.out_height() * shape.out_width(); }

// As a linear over patches.
Linear load_conv(Loader& loader, const std::string& name, const Conv2dShape& shape) {
  const std::vector<float> weight = loader.read(
      name + ".weight", {shape.out_channels, shape.in_channels, shape.kernel, shape.kernel});
  std::vector<float> matrix(weight.size());
  conv2d_matrix(shape, weight.data(), matrix.data());
  return loader.pack(matrix, loader.read(name + ".bias", {shape.out_channels}), shape.patch(),
                     shape.out_channels);
}

}  // namespace

void ImageEncoder::load(Loader& loader, const VisionConfig& config) {
  num_tokens_ = static_cast<int>(config.num_tokens());
  width_ = static_cast<int>(config.width);
  mlp_dim_ = config.mlp_dim;
  stem_.clear();
  std::int64_t side = config.image_size, channels = 3;
  for (std::size_t i = 0; i < config.stem_widths.size(); ++i) {
    const Conv2dShape shape{side, side, channels, config.stem_widths[i], 3, 2, 1};
    stem_.push_back(
        {shape, load_conv(loader, "vision.stem." + std::to_string(i), shape), config.activation});
    side = shape.out_height();
    channels = shape.out_channels;
  }
  const std::int64_t kernel = config.patch_size >> config.stem_widths.size();
  const Conv2dShape shape{side, side, channels, config.width, kernel, kernel, 0};
  patch_ = {shape, load_conv(loader, "vision.patch", shape), Activation::kNone};
  const std::vector<float> position =
      loader.read("vision.position", {config.num_tokens(), config.width});
  num_first_ = static_cast<int>(config.num_class_tokens());
  first_ = nullptr;
  if (num_first_ > 0) {
    std::vector<float> first =
        loader.read("vision.class_token", {config.num_class_tokens(), config.width});
    for (std::size_t i = 0; i < first.size(); ++i) first[i] += position[i];
    first_ = loader.keep(first);
    position_ = loader.keep({position.begin() + std::ptrdiff_t(first.size()), position.end()});
  } else {
    position_ = loader.keep(position);
  }
  layers_.assign(static_cast<std::size_t>(config.num_layers), SelfLayer{});
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].load(loader, "vision.layers." + std::to_string(i), config.width, config.num_heads,
                    config.mlp_dim, config.activation, config.eps);
  }
  norm_ = loader.layer_norm("vision.norm", config.width, config.eps);
}

void ImageEncoder::need(Space& space, int batch) const noexcept {
  space.need(std::int64_t{batch} * num_tokens_, width_, width_, mlp_dim_);
}

void ImageEncoder::layout(DeviceArena& arena, int batch) {
  const auto take16 = [&](std::int64_t count) {
    return arena.bytes(static_cast<std::size_t>(batch * count) * sizeof(std::uint16_t));
  };
  x_ = arena.many<float>(std::int64_t{batch} * num_tokens_ * width_);
  std::int64_t largest_map = 0;
  std::int64_t largest_patches = pixels(patch_.shape) * padded(patch_.shape.patch());
  for (const Conv& conv : stem_) {
    largest_map = std::max(largest_map, pixels(conv.shape) * padded(conv.shape.out_channels));
    largest_patches = std::max(largest_patches, pixels(conv.shape) * padded(conv.shape.patch()));
  }
  patches_ = take16(largest_patches);
  for (void*& map : maps_) map = take16(largest_map);
}

float* ImageEncoder::run(const Compute& compute, const Space& space, const float* images,
                         int batch) const {
  const void* map = nullptr;
  const auto gather = [&](const Conv& conv) {
    PatchesArgs args{};
    args.type = compute.type;
    args.x32 = map == nullptr ? images : nullptr;
    args.x16 = map;
    args.p = patches_;
    args.ldp = padded(conv.shape.patch());
    args.shape = conv.shape;
    args.batch = batch;
    patches(*compute.stream, args);
    return batch * static_cast<int>(pixels(conv.shape));
  };
  for (std::size_t i = 0; i < stem_.size(); ++i) {
    const Conv& conv = stem_[i];
    const int rows = gather(conv);
    // A map's rows are read as pictures: channels without padding between them.
    compute.linear(conv.linear, rows,
                   {.x16 = patches_,
                    .y16 = maps_[i % 2],
                    .ldy = conv.shape.out_channels,
                    .activation = conv.activation});
    map = maps_[i % 2];
  }
  const int rows = gather(patch_);
  compute.linear(patch_.linear, rows,
                 {.x16 = patches_,
                  .y32 = x_ + num_first_ * width_,
                  .residual = position_,
                  .residual_repeats = true,
                  .group = num_tokens_ - num_first_,
                  .y_group = num_tokens_});
  for (int i = 0; num_first_ > 0 && i < batch; ++i) {
    compute.stream->copy_on_device(x_ + std::int64_t{i} * num_tokens_ * width_, first_,
                                   static_cast<std::size_t>(num_first_ * width_) * sizeof(float));
  }
  for (const SelfLayer& layer : layers_) layer.run(compute, space, x_, batch, num_tokens_);
  return x_;
}

}  // namespace tokenfuse::cuda
