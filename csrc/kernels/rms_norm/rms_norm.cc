#include "kernels/rms_norm/rms_norm.h"

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/rms_norm/rms_norm_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const RmsNormFn kRmsNormAvx2;
extern const RmsNormFn kRmsNormAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const RmsNormFn kRmsNormNeon;
#endif

namespace {

constexpr RmsNormFn kScalar = rms_norm_rows<scalar::V>;

const RmsNormFn* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kRmsNormAvx2, &kRmsNormAvx512, &kRmsNormAvx512, &kRmsNormAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kRmsNormNeon,
    &kRmsNormNeon,
    &kRmsNormNeon,
#endif
};

}  // namespace

RmsNormFn rms_norm_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

}  // namespace tokenfuse
