#include "core/simd/avx2.h"
#include "kernels/layer_norm/layer_norm_rows.h"

namespace tokenfuse {

extern const LayerNormFn kLayerNormAvx2;
const LayerNormFn kLayerNormAvx2 = layer_norm_rows<avx2::V>;

}  // namespace tokenfuse
