#include "kernels/attention/attention.h"

#include "core/simd/scalar.h"
#include "kernels/attention/attention_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const AttentionFn kAttentionAvx2;
extern const AttentionFn kAttentionAvx512;
#endif

namespace {

constexpr AttentionFn kScalar = attention_rows<scalar::V>;

const AttentionFn* const kVariants[kNumIsas] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kAttentionAvx2, &kAttentionAvx512, &kAttentionAvx512, &kAttentionAvx512,
#else
    &kScalar, &kScalar, &kScalar, &kScalar,
#endif
};

}  // namespace

AttentionFn attention_kernel(Isa isa) noexcept { return *kVariants[static_cast<int>(isa)]; }

}  // namespace tokenfuse
