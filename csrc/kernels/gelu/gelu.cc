#include "kernels/gelu/gelu.h"

#include "core/simd/scalar.h"
#include "kernels/gelu/gelu_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const GeluFn kGeluAvx2;
extern const GeluFn kGeluAvx512;
#endif

namespace {

constexpr GeluFn kScalar = gelu_rows<scalar::V>;

const GeluFn* const kVariants[kNumIsas] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kGeluAvx2, &kGeluAvx512, &kGeluAvx512, &kGeluAvx512,
#else
    &kScalar, &kScalar, &kScalar, &kScalar,
#endif
};

}  // namespace

GeluFn gelu_kernel(Isa isa) noexcept { return *kVariants[static_cast<int>(isa)]; }

}  // namespace tokenfuse
