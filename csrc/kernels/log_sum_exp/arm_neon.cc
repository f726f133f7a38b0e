#include "core/simd/neon.h"
#include "kernels/log_sum_exp/log_sum_exp_rows.h"

namespace tokenfuse {

extern const LogSumExpFn kLogSumExpNeon;
const LogSumExpFn kLogSumExpNeon = log_sum_exp_rows<neon::V>;

}  // namespace tokenfuse
