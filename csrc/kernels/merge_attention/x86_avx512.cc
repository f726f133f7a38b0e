#include "core/simd/avx512.h"
#include "kernels/merge_attention/merge_attention_rows.h"

namespace tokenfuse {

extern const MergeAttentionKernel kMergeAttentionAvx512;
const MergeAttentionKernel kMergeAttentionAvx512{merge_attention_rows<avx512::V>,
                                                 merge_attention_weights<avx512::V>};

}  // namespace tokenfuse
