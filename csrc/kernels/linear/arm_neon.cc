#include "core/simd/neon.h"
#include "kernels/linear/linear_tile.h"

namespace tokenfuse {

// 6 x 4 accumulators + 4 of W + 1 of x: 29 of 32 registers.
extern const LinearKernel kLinearNeon;
const LinearKernel kLinearNeon{16, 6, linear_run<FloatProduct<neon::V, 6, 4>, LinearArgs>};

}  // namespace tokenfuse
