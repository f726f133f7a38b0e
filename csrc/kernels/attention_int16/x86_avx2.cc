#include "core/simd/avx2_words.h"
#include "kernels/attention_int16/attention_int16_rows.h"

namespace tokenfuse {

// 5 x 2 sums, 2 vectors, 1 broadcast and the product: 14 of 16 registers.
extern const AttentionInt16Fn kAttentionInt16Avx2;
const AttentionInt16Fn kAttentionInt16Avx2 = attention_int16_rows<avx2::Words, 5, 2>;

}  // namespace tokenfuse
