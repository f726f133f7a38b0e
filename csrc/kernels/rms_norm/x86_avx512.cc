#include "core/simd/avx512.h"
#include "kernels/rms_norm/rms_norm_rows.h"

namespace tokenfuse {

extern const RmsNormFn kRmsNormAvx512;
const RmsNormFn kRmsNormAvx512 = rms_norm_rows<avx512::V>;

}  // namespace tokenfuse
