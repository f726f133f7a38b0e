// log_sum_exp: log(sum_N exp(x_MN)) = x_M,top + rest_M, top_M the first n with the largest x_Mn
//
// What a greedy step asks of its logits: the next id, and (x - x_top) - rest, the log-probability
// of any id. The two parts are not added here: rounded at the size of the logits, the sum would
// lose what is small of a probability near one.
//
// Contract: M rows of N >= 1 floats, N below 2^31, stride ldx >= N. rest is log(sum exp(x -
// x_top)), 0 and more, and NaN where a row has a NaN or its largest is not finite; top, of what is
// not NaN, is in the row even then. M = 0 does nothing.
#pragma once

#include <cstdint>

#include "core/isa.h"

namespace tokenfuse {

using LogSumExpFn = void (*)(const float* x, std::int64_t ldx, float* rest, std::int32_t* top,
                             std::int64_t m, std::int64_t n) noexcept;

LogSumExpFn log_sum_exp_kernel(Isa isa) noexcept;

}  // namespace tokenfuse
