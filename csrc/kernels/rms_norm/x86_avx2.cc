#include "core/simd/avx2.h"
#include "kernels/rms_norm/rms_norm_rows.h"

namespace tokenfuse {

extern const RmsNormFn kRmsNormAvx2;
const RmsNormFn kRmsNormAvx2 = rms_norm_rows<avx2::V>;

}  // namespace tokenfuse
