#include "core/simd/neon_words.h"
#include "kernels/attention_int16/attention_int16_rows.h"

namespace tokenfuse {

// 6 x 4 sums, 4 vectors, 1 broadcast: 29 of 32 registers.
extern const AttentionInt16Fn kAttentionInt16Neon;
const AttentionInt16Fn kAttentionInt16Neon = attention_int16_rows<neon::Words, 6, 4>;

}  // namespace tokenfuse
