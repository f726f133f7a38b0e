#include "kernels/rms_norm/rms_norm.h"

#include "core/simd/scalar.h"
#include "kernels/rms_norm/rms_norm_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const RmsNormFn kRmsNormAvx2;
extern const RmsNormFn kRmsNormAvx512;
#endif

RmsNormFn rms_norm_kernel(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa >= Isa::kAvx512) return kRmsNormAvx512;
  if (isa == Isa::kAvx2) return kRmsNormAvx2;
#endif
  static_cast<void>(isa);
  return rms_norm_rows<scalar::V>;
}

}  // namespace tokenfuse
