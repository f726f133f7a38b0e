// rms_norm: y_MN = x_MN / sqrt(mean(x_M^2) + eps) * w_N
//
// Contract: rows of N floats, strides ldx, ldy >= N; y may be x. The mean is over
// the row, in float32. N = 0 or M = 0 does nothing.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

using RmsNormFn = void (*)(const float* x, std::int64_t ldx, const float* weight, float eps,
                           float* y, std::int64_t ldy, std::int64_t m, std::int64_t n) noexcept;

RmsNormFn rms_norm_kernel(Isa isa) noexcept;

}  // namespace tokenfuse
