#include "kernels/layer_norm/layer_norm.h"

#include "core/simd/scalar.h"
#include "kernels/layer_norm/layer_norm_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const LayerNormFn kLayerNormAvx2;
extern const LayerNormFn kLayerNormAvx512;
#endif

namespace {

constexpr LayerNormFn kScalar = layer_norm_rows<scalar::V>;

const LayerNormFn* const kVariants[kNumIsas] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kLayerNormAvx2, &kLayerNormAvx512, &kLayerNormAvx512, &kLayerNormAvx512,
#else
    &kScalar, &kScalar, &kScalar, &kScalar,
#endif
};

}  // namespace

LayerNormFn layer_norm_kernel(Isa isa) noexcept { return *kVariants[static_cast<int>(isa)]; }

}  // namespace tokenfuse
