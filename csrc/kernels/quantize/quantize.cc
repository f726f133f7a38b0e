#include "kernels/quantize/quantize.h"

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/quantize/quantize_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const QuantizeFn kQuantizeAvx2;
extern const QuantizeFn kQuantizeAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const QuantizeFn kQuantizeNeon;
#endif

namespace {

constexpr QuantizeFn kScalar = quantize_rows<scalar::V>;

const QuantizeFn* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kQuantizeAvx2, &kQuantizeAvx512, &kQuantizeAvx512, &kQuantizeAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kQuantizeNeon,
    &kQuantizeNeon,
    &kQuantizeNeon,
#endif
};

}  // namespace

QuantizeFn quantize_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

}  // namespace tokenfuse
