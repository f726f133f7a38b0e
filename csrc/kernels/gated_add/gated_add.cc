#include "kernels/gated_add/gated_add.h"

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/gated_add/gated_add_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const GatedAddFn kGatedAddAvx2;
extern const GatedAddFn kGatedAddAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const GatedAddFn kGatedAddNeon;
#endif

namespace {

constexpr GatedAddFn kScalar = gated_add_rows<scalar::V>;

const GatedAddFn* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kGatedAddAvx2, &kGatedAddAvx512, &kGatedAddAvx512, &kGatedAddAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kGatedAddNeon,
    &kGatedAddNeon,
    &kGatedAddNeon,
#endif
};

}  // namespace

GatedAddFn gated_add_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

}  // namespace tokenfuse
