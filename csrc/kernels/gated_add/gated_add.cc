#include "kernels/gated_add/gated_add.h"

#include "core/simd/scalar.h"
#include "kernels/gated_add/gated_add_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const GatedAddFn kGatedAddAvx2;
extern const GatedAddFn kGatedAddAvx512;
#endif

namespace {

constexpr GatedAddFn kScalar = gated_add_rows<scalar::V>;

const GatedAddFn* const kVariants[kNumIsas] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kGatedAddAvx2, &kGatedAddAvx512, &kGatedAddAvx512, &kGatedAddAvx512,
#else
    &kScalar, &kScalar, &kScalar, &kScalar,
#endif
};

}  // namespace

GatedAddFn gated_add_kernel(Isa isa) noexcept { return *kVariants[static_cast<int>(isa)]; }

}  // namespace tokenfuse
