#include "core/simd/avx512.h"
#include "kernels/linear/linear_tile.h"

namespace tokenfuse {

// 9 x 3 accumulators + 3 of W + 1 of x: 31 of 32 registers. 12 loads for 27 products, where 12 x 2
// takes 14 for 24: with weights from the third-level cache that was 5 to 10% slower (Sapphire
// Rapids, one thread).
extern const LinearKernel kLinearAvx512;
const LinearKernel kLinearAvx512{48, 9, linear_run<FloatProduct<avx512::V, 9, 3>, LinearArgs>};

}  // namespace tokenfuse
