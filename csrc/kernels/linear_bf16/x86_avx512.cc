#include "core/simd/avx512.h"
#include "kernels/linear_bf16/linear_bf16_tile.h"

namespace tokenfuse {

// The tile of `linear`.
extern const LinearBf16Kernel kLinearBf16Avx512;
const LinearBf16Kernel kLinearBf16Avx512{48, 9, nullptr, linear_bf16_run<avx512::V, 9, 3>};

}  // namespace tokenfuse
