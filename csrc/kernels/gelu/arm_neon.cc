#include "core/simd/neon.h"
#include "kernels/gelu/gelu_rows.h"

namespace tokenfuse {

extern const GeluFn kGeluNeon;
const GeluFn kGeluNeon = gelu_rows<neon::V>;

}  // namespace tokenfuse
