#include "kernels/gelu/gelu.h"

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/gelu/gelu_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const GeluFn kGeluAvx2;
extern const GeluFn kGeluAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const GeluFn kGeluNeon;
#endif

namespace {

constexpr GeluFn kScalar = gelu_rows<scalar::V>;

const GeluFn* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kGeluAvx2, &kGeluAvx512, &kGeluAvx512, &kGeluAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kGeluNeon,
    &kGeluNeon,
    &kGeluNeon,
#endif
};

}  // namespace

GeluFn gelu_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

}  // namespace tokenfuse
