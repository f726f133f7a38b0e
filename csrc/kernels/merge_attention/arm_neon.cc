#include "core/simd/neon.h"
#include "kernels/merge_attention/merge_attention_rows.h"

namespace tokenfuse {

extern const MergeAttentionKernel kMergeAttentionNeon;
const MergeAttentionKernel kMergeAttentionNeon{merge_attention_rows<neon::V>,
                                               merge_attention_weights<neon::V>};

}  // namespace tokenfuse
