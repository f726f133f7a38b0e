#include "core/simd/avx512.h"
#include "kernels/linear/linear_tile.h"

namespace tokenfuse {

// 12 x 2 accumulators + 2 of W + 1 of x: 27 of 32 registers.
extern const LinearKernel kLinearAvx512;
const LinearKernel kLinearAvx512{32, 12, linear_run<avx512::V, 12, 2>};

}  // namespace tokenfuse
