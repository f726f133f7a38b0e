#include "core/simd/avx512.h"
#include "kernels/layer_norm/layer_norm_rows.h"

namespace tokenfuse {

extern const LayerNormFn kLayerNormAvx512;
const LayerNormFn kLayerNormAvx512 = layer_norm_rows<avx512::V>;

}  // namespace tokenfuse
