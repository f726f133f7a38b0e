// Token resampling on a GPU: f_N = W2 Phi(X_N, W1 x), folded as merge_folding.h says.
#pragma once

#include <string>

#include "engine/config.h"
#include "engine/cuda/layers.h"
#include "engine/merge_folding.h"
#include "kernels/merge_attention/cuda.h"

namespace tokenfuse::cuda {

class Resampler {
 public:
  // `num_tokens` at most, of `token_width`; `projection` names W1, `prefix` the resampler. Without
  // `may_fold` keys and values are projected, and there is no map.
  void load(Loader& loader, const FusionConfig& config, const std::string& projection,
            const std::string& prefix, std::int64_t token_width, std::int64_t num_tokens,
            bool may_fold);
  void layout(DeviceArena& arena, const DeviceInfo& device, Type type, int batch);

  // x: (batch, count, token_width), float32, before `norm`; only the first key_counts[b] tokens of
  // each are there, where it is not null. f: (batch, num_latents, D). map: (batch, num_latents,
  // count), the attention averaged over heads, or null.
  void run(const Compute& compute, const Norm& norm, const float* x, int batch, int count,
           const int* key_counts, int num_latents, float* f, float* map) const;

 private:
  bool folds(int num_latents) const noexcept;
  MergeAttentionArgs merge_args(const Compute& compute, int batch, int count,
                                int num_latents) const;
  std::size_t workspace_bytes(const DeviceInfo& device, Type type, int batch) const;

  MergeExtents extents_{};
  std::vector<std::int64_t> budgets_;
  bool may_fold_ = false, has_folded_ = false, has_projected_ = false;
  // folded: rows (n, head) of token_width; (D, H C) with its bias. The map takes the queries
  // whatever the form.
  const void* folded_query_ = nullptr;
  Linear folded_output_;
  // projected: rows n of D, scaled; keys and values side by side; Wo.
  const void* query_ = nullptr;
  Linear key_value_, output_;
  // 16 bits: the normed tokens, what was merged, keys and values.
  void *tokens_ = nullptr, *merged_ = nullptr, *key_values_ = nullptr;
  float *lse_ = nullptr, *weights_ = nullptr;
  void* workspace_ = nullptr;
};

}  // namespace tokenfuse::cuda
