#include "kernels/rms_norm/rms_norm.h"

#include "core/simd/scalar.h"
#include "kernels/rms_norm/rms_norm_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const RmsNormFn kRmsNormAvx2;
extern const RmsNormFn kRmsNormAvx512;
#endif

namespace {

constexpr RmsNormFn kScalar = rms_norm_rows<scalar::V>;

const RmsNormFn* const kVariants[kNumIsas] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kRmsNormAvx2, &kRmsNormAvx512, &kRmsNormAvx512, &kRmsNormAvx512,
#else
    &kScalar, &kScalar, &kScalar, &kScalar,
#endif
};

}  // namespace

RmsNormFn rms_norm_kernel(Isa isa) noexcept { return *kVariants[static_cast<int>(isa)]; }

}  // namespace tokenfuse
