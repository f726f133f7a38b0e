#include "core/simd/avx512.h"
#include "kernels/attention/attention_rows.h"

namespace tokenfuse {

extern const AttentionFn kAttentionAvx512;
const AttentionFn kAttentionAvx512 = attention_rows<avx512::V>;

}  // namespace tokenfuse
