#include "core/simd/avx2.h"
#include "kernels/gelu/gelu_rows.h"

namespace tokenfuse {

extern const GeluFn kGeluAvx2;
const GeluFn kGeluAvx2 = gelu_rows<avx2::V>;

}  // namespace tokenfuse
