// gelu: y = 0.5 x (1 + erf(x / sqrt 2)), or with tanh:
//   y = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
// gated: y = gelu_tanh(x) * z, as T5 v1.1 has it.
//
// Contract: rows of N floats with strides ldx, ldz, ldy >= N; y may be x or z.
// Absolute error below 4e-7 * max(1, |x|) for finite x. z is null for the plain forms.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

enum class GeluForm { kErf, kTanh };

using GeluFn = void (*)(GeluForm form, const float* x, std::int64_t ldx, const float* z,
                        std::int64_t ldz, float* y, std::int64_t ldy, std::int64_t m,
                        std::int64_t n) noexcept;

GeluFn gelu_kernel(Isa isa) noexcept;

}  // namespace tokenfuse
