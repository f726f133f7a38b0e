#include "kernels/log_sum_exp/log_sum_exp.h"

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/log_sum_exp/log_sum_exp_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const LogSumExpFn kLogSumExpAvx2;
extern const LogSumExpFn kLogSumExpAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const LogSumExpFn kLogSumExpNeon;
#endif

namespace {

constexpr LogSumExpFn kScalar = log_sum_exp_rows<scalar::V>;

const LogSumExpFn* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kLogSumExpAvx2, &kLogSumExpAvx512, &kLogSumExpAvx512, &kLogSumExpAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kLogSumExpNeon,
    &kLogSumExpNeon,
    &kLogSumExpNeon,
#endif
};

}  // namespace

LogSumExpFn log_sum_exp_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

}  // namespace tokenfuse
