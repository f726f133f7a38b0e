#include "kernels/layer_norm/layer_norm.h"

#include "core/simd/scalar.h"
#include "kernels/layer_norm/layer_norm_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const LayerNormFn kLayerNormAvx2;
extern const LayerNormFn kLayerNormAvx512;
#endif

LayerNormFn layer_norm_kernel(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa >= Isa::kAvx512) return kLayerNormAvx512;
  if (isa == Isa::kAvx2) return kLayerNormAvx2;
#endif
  static_cast<void>(isa);
  return layer_norm_rows<scalar::V>;
}

}  // namespace tokenfuse
