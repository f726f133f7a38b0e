#include "kernels/merge_attention/merge_attention.h"

#include "core/simd/scalar.h"
#include "kernels/merge_attention/merge_attention_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const MergeAttentionKernel kMergeAttentionAvx2;
extern const MergeAttentionKernel kMergeAttentionAvx512;
#endif

namespace {

constexpr MergeAttentionKernel kScalar{merge_attention_rows<scalar::V>,
                                       merge_attention_weights<scalar::V>};

}  // namespace

const MergeAttentionKernel& merge_attention_kernel(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa >= Isa::kAvx512) return kMergeAttentionAvx512;
  if (isa == Isa::kAvx2) return kMergeAttentionAvx2;
#endif
  static_cast<void>(isa);
  return kScalar;
}

}  // namespace tokenfuse
