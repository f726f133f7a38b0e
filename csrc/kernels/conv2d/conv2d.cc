// The variants of conv2d are those of `linear`, which does all its arithmetic.
#include "kernels/conv2d/conv2d.h"

#include <algorithm>

#include "core/thread_pool.h"

namespace tokenfuse {

void conv2d_patches(const Conv2dShape& s, const float* x, std::int64_t out_row,
                    float* to) noexcept {
  const std::int64_t channels = s.in_channels, across = s.kernel * channels;
  for (std::int64_t out_column = 0; out_column < s.out_width(); ++out_column) {
    const std::int64_t left = out_column * s.stride - s.padding;
    // Columns of the patch that lie on the picture: neighbours there too.
    const std::int64_t begin = std::clamp<std::int64_t>(-left, 0, s.kernel);
    const std::int64_t end = std::clamp<std::int64_t>(s.width - left, begin, s.kernel);
    for (std::int64_t i = 0; i < s.kernel; ++i, to += across) {
      const std::int64_t row = out_row * s.stride + i - s.padding;
      if (row < 0 || row >= s.height) {
        std::fill(to, to + across, 0.0f);
        continue;
      }
      const float* from = x + (row * s.width + left) * channels;
      std::fill(to, to + begin * channels, 0.0f);
      std::copy(from + begin * channels, from + end * channels, to + begin * channels);
      std::fill(to + end * channels, to + across, 0.0f);
    }
  }
}

std::size_t conv2d_packed_floats(const LinearKernel& kernel, const Conv2dShape& shape) noexcept {
  return linear_packed_floats(kernel, shape.out_channels, shape.patch());
}

void conv2d_matrix(const Conv2dShape& s, const float* w, float* matrix) noexcept {
  const std::int64_t area = s.kernel * s.kernel;
  for (std::int64_t o = 0; o < s.out_channels; ++o) {
    for (std::int64_t c = 0; c < s.in_channels; ++c) {
      for (std::int64_t t = 0; t < area; ++t) {
        matrix[o * s.patch() + t * s.in_channels + c] = w[(o * s.in_channels + c) * area + t];
      }
    }
  }
}

void conv2d_pack(const LinearKernel& kernel, const Conv2dShape& s, const float* w, float* temporary,
                 float* packed) noexcept {
  conv2d_matrix(s, w, temporary);
  linear_pack(kernel, temporary, s.patch(), s.out_channels, s.patch(), packed);
}

void conv2d(const LinearKernel& kernel, const Conv2dShape& s, const float* x, const float* packed,
            const float* bias, Activation activation, float* y, float* scratch,
            ThreadPool& pool) noexcept {
  const std::int64_t patch = s.patch();
  const std::int64_t num_panels = linear_num_panels(kernel, s.out_channels);
  pool.parallel_for(s.out_height(), [&](std::int64_t row, int thread) {
    float* patches = scratch + static_cast<std::size_t>(thread) * conv2d_scratch_floats(s);
    conv2d_patches(s, x, row, patches);
    LinearArgs args{};
    args.x = patches;
    args.ldx = patch;
    args.packed = packed;
    args.bias = bias;
    args.y = y + row * s.out_width() * s.out_channels;
    args.ldy = s.out_channels;
    args.m = s.out_width();
    args.n = s.out_channels;
    args.k = patch;
    args.activation = activation;
    kernel.run(args, 0, args.m, 0, num_panels);
  });
}

}  // namespace tokenfuse
