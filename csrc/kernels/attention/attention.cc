#include "kernels/attention/attention.h"

#include "core/simd/scalar.h"
#include "kernels/attention/attention_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const AttentionFn kAttentionAvx2;
extern const AttentionFn kAttentionAvx512;
#endif

AttentionFn attention_kernel(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa >= Isa::kAvx512) return kAttentionAvx512;
  if (isa == Isa::kAvx2) return kAttentionAvx2;
#endif
  static_cast<void>(isa);
  return attention_rows<scalar::V>;
}

}  // namespace tokenfuse
