#include "kernels/merge_attention/merge_attention.h"

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/merge_attention/merge_attention_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const MergeAttentionKernel kMergeAttentionAvx2;
extern const MergeAttentionKernel kMergeAttentionAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const MergeAttentionKernel kMergeAttentionNeon;
#endif

namespace {

constexpr MergeAttentionKernel kScalar{merge_attention_rows<scalar::V>,
                                       merge_attention_weights<scalar::V>};

const MergeAttentionKernel* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kMergeAttentionAvx2,
    &kMergeAttentionAvx512,
    &kMergeAttentionAvx512,
    &kMergeAttentionAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kMergeAttentionNeon,
    &kMergeAttentionNeon,
    &kMergeAttentionNeon,
#endif
};

}  // namespace

const MergeAttentionKernel& merge_attention_kernel(Isa isa) noexcept {
  return variant_of(kVariants, isa);
}

}  // namespace tokenfuse
