// What of a resampler [paper eq. 1, 2] is a constant: v = W1 x, f_N = W2 Phi(X_N, v), with learned
// X_N.
//
// Folded at load, in float64:
//   always: the queries (X_N Wq + bq) / sqrt(h); W1 into Wk and Wv; the key bias cancels.
//   "folded": also Wk into the queries and Wo Wv W1 into one matrix, so that the tokens
//   themselves are what is merged: 2 H N S C + H N C D products, against
//   2 S C D + 2 N S D + N D^2 of projecting keys and values ("projected").
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/thread_pool.h"

namespace tokenfuse {

// D, C, S at most, N, H.
struct MergeExtents {
  std::int64_t width, token_width, num_tokens, num_latents, num_heads;
};

// At `num_latents` of them.
bool folding_is_cheaper(const MergeExtents& extents, std::int64_t num_latents) noexcept;

class MergeFolding {
 public:
  using Read = std::function<std::vector<float>(const std::string& name,
                                                std::initializer_list<std::int64_t> shape)>;

  // `projection` names W1, `prefix` the resampler. When planning, all is of its size and zero.
  MergeFolding(const Read& read, ThreadPool& pool, bool planning, const MergeExtents& extents,
               const std::string& projection, const std::string& prefix);

  // Folded: rows (n, head) of C; (D, H C); D.
  std::vector<float> folded_query() const;
  std::vector<float> folded_output() const;
  std::vector<float> folded_bias() const;
  // Projected: rows n of D, scaled; keys below values, (2 D, C) and 2 D; Wo (D, D) and D.
  std::vector<float> query() const;
  std::vector<float> key_value() const;
  std::vector<float> key_value_bias() const;
  std::vector<float> output() const;
  std::vector<float> output_bias() const;

 private:
  using Matrix = std::vector<double>;

  ThreadPool& pool_;
  bool planning_;
  MergeExtents extents_;
  Matrix query_, wk1_, wv1_, value_bias_, wo_, bo_;
};

}  // namespace tokenfuse
