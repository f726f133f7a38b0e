// quantize: q_MK = round(x_MK / s_M), s_M = max_K |x_MK| / 127
//
// Contract:
//   x: M rows of K floats, stride ldx; q: M rows of ldq bytes, ldq >= K: zeros behind K.
//   scale: s_M, so that x is about q s; sum: the sum of a row's q, exact for K < 131,072.
//   Rounding is to nearest, ties to even, of the float32 product x * (127 / max): every variant
//   gives the same bytes. A row whose largest value is below 1e-30 gives zeros and scale 0; a row
//   with NaN or infinity gives scale NaN, which every product of it then has.
// Rows are independent: the caller splits them.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

using QuantizeFn = void (*)(const float* x, std::int64_t ldx, std::int8_t* q, std::int64_t ldq,
                            float* scale, std::int32_t* sum, std::int64_t m,
                            std::int64_t k) noexcept;

QuantizeFn quantize_kernel(Isa isa) noexcept;

}  // namespace tokenfuse
