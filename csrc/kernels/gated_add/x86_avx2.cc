#include "core/simd/avx2.h"
#include "kernels/gated_add/gated_add_rows.h"

namespace tokenfuse {

extern const GatedAddFn kGatedAddAvx2;
const GatedAddFn kGatedAddAvx2 = gated_add_rows<avx2::V>;

}  // namespace tokenfuse
