#include "core/simd/avx2.h"
#include "kernels/attention/attention_rows.h"

namespace tokenfuse {

extern const AttentionFn kAttentionAvx2;
const AttentionFn kAttentionAvx2 = attention_rows<avx2::V>;

}  // namespace tokenfuse
