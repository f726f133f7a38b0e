#include "core/simd/avx512.h"
#include "kernels/log_sum_exp/log_sum_exp_rows.h"

namespace tokenfuse {

extern const LogSumExpFn kLogSumExpAvx512;
const LogSumExpFn kLogSumExpAvx512 = log_sum_exp_rows<avx512::V>;

}  // namespace tokenfuse
