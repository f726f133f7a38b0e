#include "core/simd/neon.h"
#include "kernels/linear_bf16/linear_bf16_tile.h"

namespace tokenfuse {

// The tile of `linear`.
extern const LinearBf16Kernel kLinearBf16Neon;
const LinearBf16Kernel kLinearBf16Neon{16, 6, nullptr, linear_bf16_run<neon::V, 6, 4>};

}  // namespace tokenfuse
