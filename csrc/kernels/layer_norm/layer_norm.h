// layer_norm: y_MN = (x_MN - mean_M) / sqrt(var_M + eps) * w_N + b_N
//
// Contract: rows of N floats, strides ldx, ldy >= N; y may be x. Mean and variance
// are over the row, the variance of the centred values (two passes), in float32.
// N = 0 or M = 0 does nothing.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

using LayerNormFn = void (*)(const float* x, std::int64_t ldx, const float* weight,
                             const float* bias, float eps, float* y, std::int64_t ldy,
                             std::int64_t m, std::int64_t n) noexcept;

LayerNormFn layer_norm_kernel(Isa isa) noexcept;

}  // namespace tokenfuse
