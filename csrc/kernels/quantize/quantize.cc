#include "kernels/quantize/quantize.h"

#include "core/simd/scalar.h"
#include "kernels/quantize/quantize_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const QuantizeFn kQuantizeAvx2;
extern const QuantizeFn kQuantizeAvx512;
#endif

namespace {

constexpr QuantizeFn kScalar = quantize_rows<scalar::V>;

const QuantizeFn* const kVariants[kNumIsas] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kQuantizeAvx2, &kQuantizeAvx512, &kQuantizeAvx512, &kQuantizeAvx512,
#else
    &kScalar, &kScalar, &kScalar, &kScalar,
#endif
};

}  // namespace

QuantizeFn quantize_kernel(Isa isa) noexcept { return *kVariants[static_cast<int>(isa)]; }

}  // namespace tokenfuse
