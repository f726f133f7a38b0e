// conv2d: y[h, w, :] = act(sum_{i, j} x[h s + i - p, w s + j - p, :] W[:, :, i, j] + b)
//
// Contract: x is (H, W, C_in), y is (OH, OW, C_out) with OH = (H + 2p - k) / s + 1, both
// channels-last and contiguous; outside of x are zeros. The weights are those of a
// convolution (C_out, C_in, k, k), packed by `conv2d_pack`: each output pixel is a `linear`
// over its k k C_in inputs, in the order (i, j, channel).
// scratch: conv2d_scratch_floats(...) per thread of the pool.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/linear/linear.h"

namespace tokenfuse {

struct Conv2dShape {
  std::int64_t height, width, in_channels, out_channels, kernel, stride, padding;

  std::int64_t out_height() const noexcept { return (height + 2 * padding - kernel) / stride + 1; }
  std::int64_t out_width() const noexcept { return (width + 2 * padding - kernel) / stride + 1; }
  std::int64_t patch() const noexcept { return kernel * kernel * in_channels; }
};

// Floats that `conv2d_pack` writes.
std::size_t conv2d_packed_floats(const LinearKernel& kernel, const Conv2dShape& shape) noexcept;

// The weights as those of `linear`: (out_channels, patch()), in the order of a patch.
void conv2d_matrix(const Conv2dShape& shape, const float* w, float* matrix) noexcept;

// The inputs of the output row `out_row`, one output pixel after the other: patch() floats each.
void conv2d_patches(const Conv2dShape& shape, const float* x, std::int64_t out_row,
                    float* patches) noexcept;

// `temporary` holds out_channels * patch() floats.
void conv2d_pack(const LinearKernel& kernel, const Conv2dShape& shape, const float* w,
                 float* temporary, float* packed) noexcept;

// The patches of one row of outputs.
inline std::size_t conv2d_scratch_floats(const Conv2dShape& shape) noexcept {
  return static_cast<std::size_t>(shape.out_width() * shape.patch());
}

// `scratch` is one block of conv2d_scratch_floats() floats per thread, behind each other.
void conv2d(const LinearKernel& kernel, const Conv2dShape& shape, const float* x,
            const float* packed, const float* bias, Activation activation, float* y, float* scratch,
            ThreadPool& pool) noexcept;

}  // namespace tokenfuse
