#include "kernels/layer_norm/layer_norm.h"

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/layer_norm/layer_norm_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const LayerNormFn kLayerNormAvx2;
extern const LayerNormFn kLayerNormAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const LayerNormFn kLayerNormNeon;
#endif

namespace {

constexpr LayerNormFn kScalar = layer_norm_rows<scalar::V>;

const LayerNormFn* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kLayerNormAvx2, &kLayerNormAvx512, &kLayerNormAvx512, &kLayerNormAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kLayerNormNeon,
    &kLayerNormNeon,
    &kLayerNormNeon,
#endif
};

}  // namespace

LayerNormFn layer_norm_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

}  // namespace tokenfuse
