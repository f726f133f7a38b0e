#include "core/simd/avx2.h"
#include "kernels/linear_bf16/linear_bf16_tile.h"

namespace tokenfuse {

// The tile of `linear`.
extern const LinearBf16Kernel kLinearBf16Avx2;
const LinearBf16Kernel kLinearBf16Avx2{16, 6, nullptr, linear_bf16_run<avx2::V, 6, 2>};

}  // namespace tokenfuse
