#include "kernels/gated_add/gated_add.h"

#include "core/simd/scalar.h"
#include "kernels/gated_add/gated_add_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const GatedAddFn kGatedAddAvx2;
extern const GatedAddFn kGatedAddAvx512;
#endif

GatedAddFn gated_add_kernel(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa >= Isa::kAvx512) return kGatedAddAvx512;
  if (isa == Isa::kAvx2) return kGatedAddAvx2;
#endif
  static_cast<void>(isa);
  return gated_add_rows<scalar::V>;
}

}  // namespace tokenfuse
