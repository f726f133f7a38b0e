// Token resampling [paper eq. 1, 2]: v = W1 x, f_N = W2 Phi(X_N, v), with learned X_N.
//
// Folded as merge_folding.h says, by the cheaper form for each number of latents; texts, which are
// short, are projected.
#pragma once

#include <vector>

#include "engine/config.h"
#include "engine/layers.h"
#include "engine/merge_folding.h"

namespace tokenfuse {

class Resampler {
 public:
  // `num_tokens` at most, of `token_width`; `projection` names W1, `prefix` the resampler.
  void load(Loader& loader, const FusionConfig& config, const std::string& projection,
            const std::string& prefix, std::int64_t token_width, std::int64_t num_tokens,
            bool may_fold);
  void layout(Arena& arena) noexcept;
  std::size_t attention_scratch(const Compute& compute) const noexcept;
  std::size_t merge_scratch() const noexcept;

  // x: `count` tokens; f: num_latents rows. map: (num_latents, count), the attention
  // averaged over heads, or null.
  void run(Compute& compute, View x, std::int64_t count, std::int64_t num_latents, View f,
           float* map) noexcept;

 private:
  bool folds(std::int64_t num_latents) const noexcept;
  void run_folded(Compute& compute, View x, std::int64_t count, std::int64_t num_latents, View f,
                  float* map) noexcept;
  void run_projected(Compute& compute, View x, std::int64_t count, std::int64_t num_latents, View f,
                     float* map) noexcept;

  MergeExtents extents_{};
  bool may_fold_ = false, has_folded_ = false, has_projected_ = false;
  // folded: rows (n, head) of token_width; (D, H C) with its bias.
  const float* folded_query_ = nullptr;
  PackedLinear folded_output_;
  // projected: rows n of D, scaled; keys and values side by side; Wo.
  const float* query_ = nullptr;
  PackedLinear key_value_, output_;
  View merged_{}, key_values_{};
  float* lse_ = nullptr;
  float* weights_ = nullptr;
};

}  // namespace tokenfuse
