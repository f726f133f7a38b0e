#include "core/simd/neon.h"
#include "kernels/rms_norm/rms_norm_rows.h"

namespace tokenfuse {

extern const RmsNormFn kRmsNormNeon;
const RmsNormFn kRmsNormNeon = rms_norm_rows<neon::V>;

}  // namespace tokenfuse
