#include "core/simd/avx512.h"
#include "kernels/gated_add/gated_add_rows.h"

namespace tokenfuse {

extern const GatedAddFn kGatedAddAvx512;
const GatedAddFn kGatedAddAvx512 = gated_add_rows<avx512::V>;

}  // namespace tokenfuse
