#include "core/simd/neon.h"
#include "kernels/quantize/quantize_rows.h"

namespace tokenfuse {

extern const QuantizeFn kQuantizeNeon;
const QuantizeFn kQuantizeNeon = quantize_rows<neon::V>;

}  // namespace tokenfuse
