#include "core/simd/avx2.h"
#include "kernels/quantize/quantize_rows.h"

namespace tokenfuse {

extern const QuantizeFn kQuantizeAvx2;
const QuantizeFn kQuantizeAvx2 = quantize_rows<avx2::V>;

}  // namespace tokenfuse
