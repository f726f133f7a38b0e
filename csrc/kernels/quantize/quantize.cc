#include "kernels/quantize/quantize.h"

#include "core/simd/scalar.h"
#include "kernels/quantize/quantize_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const QuantizeFn kQuantizeAvx2;
extern const QuantizeFn kQuantizeAvx512;
#endif

QuantizeFn quantize_kernel(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa >= Isa::kAvx512) return kQuantizeAvx512;
  if (isa == Isa::kAvx2) return kQuantizeAvx2;
#endif
  static_cast<void>(isa);
  return quantize_rows<scalar::V>;
}

}  // namespace tokenfuse
