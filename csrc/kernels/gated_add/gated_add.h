// gated_add: y = a x + b z, elementwise, with scalars a and b.
//
// The combinations of the method: P = LN(t) + tanh(alpha) Phi [eq. 3], F = P +
// tanh(beta) MLP(P) [eq. 3], t <- lambda F + mu t_N [eq. 4].
// Contract: n floats each, contiguous; y may be x or z.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

using GatedAddFn = void (*)(float a, const float* x, float b, const float* z, float* y,
                            std::int64_t n) noexcept;

GatedAddFn gated_add_kernel(Isa isa) noexcept;

}  // namespace tokenfuse
