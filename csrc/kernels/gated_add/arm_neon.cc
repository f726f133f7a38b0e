#include "core/simd/neon.h"
#include "kernels/gated_add/gated_add_rows.h"

namespace tokenfuse {

extern const GatedAddFn kGatedAddNeon;
const GatedAddFn kGatedAddNeon = gated_add_rows<neon::V>;

}  // namespace tokenfuse
