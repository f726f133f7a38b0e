#include "core/simd/avx512.h"
#include "kernels/quantize/quantize_rows.h"

namespace tokenfuse {

extern const QuantizeFn kQuantizeAvx512;
const QuantizeFn kQuantizeAvx512 = quantize_rows<avx512::V>;

}  // namespace tokenfuse
