#include "core/simd/neon.h"
#include "kernels/attention/attention_rows.h"

namespace tokenfuse {

extern const AttentionFn kAttentionNeon;
const AttentionFn kAttentionNeon = attention_rows<neon::V>;

}  // namespace tokenfuse
