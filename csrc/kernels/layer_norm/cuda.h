// layer_norm and rms_norm on a GPU: float32 rows to float32 rows, rows of `type`, or both.
//
// Contract: device addresses; rows of any strides; y32 may be x; y16 and y32 may be null; columns
// of y16 from N to ldy16 are left alone. `bias` null: RMS norm. The variance of a layer norm is
// that of the centred values; all in float32.
#pragma once

#include <cstdint>

#include "core/cuda/runtime.h"
#include "core/cuda/types.h"

namespace tokenfuse::cuda {

struct NormArgs {
  Type type;
  const float* x;
  std::int64_t ldx;
  const float* weight;
  const float* bias;
  float eps;
  float* y32;
  std::int64_t ldy32;
  void* y16;
  std::int64_t ldy16;
  int m, n;
};

void norm(Stream& stream, const NormArgs& args);

}  // namespace tokenfuse::cuda
