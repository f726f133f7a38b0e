#include "kernels/gelu/gelu.h"

#include "core/simd/scalar.h"
#include "kernels/gelu/gelu_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const GeluFn kGeluAvx2;
extern const GeluFn kGeluAvx512;
#endif

GeluFn gelu_kernel(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa >= Isa::kAvx512) return kGeluAvx512;
  if (isa == Isa::kAvx2) return kGeluAvx2;
#endif
  static_cast<void>(isa);
  return gelu_rows<scalar::V>;
}

}  // namespace tokenfuse
