// The variants of conv2d are those of `linear`, which does all its arithmetic.
#include "kernels/conv2d/conv2d.h"

#include <cstring>

#include "core/thread_pool.h"

namespace tokenfuse {
namespace {

// Inputs of the output row `out_row`, one output pixel after the other.
void gather_patches(const Conv2dShape& s, const float* x, std::int64_t out_row,
                    float* to) noexcept {
  const std::size_t pixel_bytes = static_cast<std::size_t>(s.in_channels) * sizeof(float);
  for (std::int64_t out_column = 0; out_column < s.out_width(); ++out_column) {
    for (std::int64_t i = 0; i < s.kernel; ++i) {
      const std::int64_t row = out_row * s.stride + i - s.padding;
      for (std::int64_t j = 0; j < s.kernel; ++j, to += s.in_channels) {
        const std::int64_t column = out_column * s.stride + j - s.padding;
        if (row < 0 || row >= s.height || column < 0 || column >= s.width) {
          std::memset(to, 0, pixel_bytes);
        } else {
          std::memcpy(to, x + (row * s.width + column) * s.in_channels, pixel_bytes);
        }
      }
    }
  }
}

}  // namespace

std::size_t conv2d_packed_floats(const LinearKernel& kernel, const Conv2dShape& shape) noexcept {
  return linear_packed_floats(kernel, shape.out_channels, shape.patch());
}

void conv2d_pack(const LinearKernel& kernel, const Conv2dShape& s, const float* w,
                 float* temporary, float* packed) noexcept {
  const std::int64_t area = s.kernel * s.kernel;
  for (std::int64_t o = 0; o < s.out_channels; ++o) {
    for (std::int64_t c = 0; c < s.in_channels; ++c) {
      for (std::int64_t t = 0; t < area; ++t) {
        temporary[o * s.patch() + t * s.in_channels + c] = w[(o * s.in_channels + c) * area + t];
      }
    }
  }
  linear_pack(kernel, temporary, s.patch(), s.out_channels, s.patch(), packed);
}

void conv2d(const LinearKernel& kernel, const Conv2dShape& s, const float* x, const float* packed,
            const float* bias, Activation activation, float* y, float* scratch,
            ThreadPool& pool) noexcept {
  const std::int64_t patch = s.patch();
  const std::int64_t num_panels = linear_num_panels(kernel, s.out_channels);
  pool.parallel_for(s.out_height(), [&](std::int64_t row, int thread) {
    float* patches = scratch + static_cast<std::size_t>(thread) * conv2d_scratch_floats(s);
    gather_patches(s, x, row, patches);
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
