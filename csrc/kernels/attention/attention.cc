#include "kernels/attention/attention.h"

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/attention/attention_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const AttentionFn kAttentionAvx2;
extern const AttentionFn kAttentionAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const AttentionFn kAttentionNeon;
#endif

namespace {

constexpr AttentionFn kScalar = attention_rows<scalar::V>;

const AttentionFn* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kAttentionAvx2, &kAttentionAvx512, &kAttentionAvx512, &kAttentionAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kAttentionNeon,
    &kAttentionNeon,
    &kAttentionNeon,
#endif
};

}  // namespace

AttentionFn attention_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

}  // namespace tokenfuse
