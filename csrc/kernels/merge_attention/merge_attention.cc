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

const MergeAttentionKernel* const kVariants[kNumIsas] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kMergeAttentionAvx2,
    &kMergeAttentionAvx512,
    &kMergeAttentionAvx512,
    &kMergeAttentionAvx512,
#else
    &kScalar, &kScalar, &kScalar, &kScalar,
#endif
};

}  // namespace

const MergeAttentionKernel& merge_attention_kernel(Isa isa) noexcept {
  return *kVariants[static_cast<int>(isa)];
}

}  // namespace tokenfuse
