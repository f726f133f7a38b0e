#include "core/simd/avx2.h"
#include "kernels/linear/linear_tile.h"

namespace tokenfuse {

// 6 x 2 accumulators + 2 of W + 1 of x: 15 of 16 registers.
extern const LinearKernel kLinearAvx2;
const LinearKernel kLinearAvx2{16, 6, linear_run<FloatProduct<avx2::V, 6, 2>, LinearArgs>};

}  // namespace tokenfuse
