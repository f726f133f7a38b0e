#include "core/simd/avx2.h"
#include "kernels/merge_attention/merge_attention_rows.h"

namespace tokenfuse {

extern const MergeAttentionKernel kMergeAttentionAvx2;
const MergeAttentionKernel kMergeAttentionAvx2{merge_attention_rows<avx2::V>,
                                               merge_attention_weights<avx2::V>};

}  // namespace tokenfuse
