#include "core/simd/avx512_words.h"
#include "kernels/attention_int16/attention_int16_rows.h"

namespace tokenfuse {

// 13 x 2 sums, 2 vectors, 1 broadcast and the product: 30 of 32 registers.
extern const AttentionInt16Fn kAttentionInt16Avx512;
const AttentionInt16Fn kAttentionInt16Avx512 = attention_int16_rows<avx512::Words, 13, 2>;

}  // namespace tokenfuse
