#include "core/simd/avx512.h"
#include "kernels/gelu/gelu_rows.h"

namespace tokenfuse {

extern const GeluFn kGeluAvx512;
const GeluFn kGeluAvx512 = gelu_rows<avx512::V>;

}  // namespace tokenfuse
