// The patches of a convolution on a GPU, which makes it a linear: row (b, y, x) of p has, for each
// row and column of the kernel, the channels of the pixel there, zeros outside of the picture: the
// order of conv2d_matrix (conv2d.h).
//
// Contract: device addresses; pictures are (batch, height, width, channels), either float32 (x32)
// or of `type` (x16); p: batch * out_height * out_width rows of `type`, stride ldp a multiple of 8
// and not less than the patch, zeros behind it; its address is a multiple of 16; less than
// 64 GB of it.
#pragma once

#include <cstdint>

#include "core/cuda/runtime.h"
#include "core/cuda/types.h"
#include "kernels/conv2d/conv2d.h"

namespace tokenfuse::cuda {

struct PatchesArgs {
  Type type;
  const float* x32;
  const void* x16;
  void* p;
  std::int64_t ldp;
  Conv2dShape shape;
  int batch;
};

void patches(Stream& stream, const PatchesArgs& args);

}  // namespace tokenfuse::cuda
