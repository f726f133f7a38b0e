#include "core/simd/avx2.h"
#include "kernels/log_sum_exp/log_sum_exp_rows.h"

namespace tokenfuse {

extern const LogSumExpFn kLogSumExpAvx2;
const LogSumExpFn kLogSumExpAvx2 = log_sum_exp_rows<avx2::V>;

}  // namespace tokenfuse
