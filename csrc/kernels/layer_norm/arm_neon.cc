#include "core/simd/neon.h"
#include "kernels/layer_norm/layer_norm_rows.h"

namespace tokenfuse {

extern const LayerNormFn kLayerNormNeon;
const LayerNormFn kLayerNormNeon = layer_norm_rows<neon::V>;

}  // namespace tokenfuse
