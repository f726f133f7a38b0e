// `merge_attention` for any vector type V.
#pragma once

#include <cmath>
#include <limits>

#include "core/simd/math.h"
#include "kernels/merge_attention/merge_attention.h"

namespace tokenfuse {

inline constexpr float kMergeLowest = -std::numeric_limits<float>::infinity();

// Scores of R rows against a transposed block xt (width x kMergeBlock).
template <typename V, int R>
inline void merge_scores(const MergeAttentionArgs& a, std::int64_t row, const float* xt,
                         float* s) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  // R x 2 sums in registers, 4 with NEON; all but AVX-512 go over the block in strips.
  constexpr int kColumns = kLanes == 1 ? 8 : kLanes == 4 ? 4 : 2;
  const float* q = a.q + row * a.ldq;
  for (std::int64_t j = 0; j < kMergeBlock; j += kColumns * kLanes) {
    T acc[R][kColumns];
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < kColumns; ++c) acc[r][c] = V::zero();
    }
    for (std::int64_t d = 0; d < a.width; ++d) {
      T token[kColumns];
      for (int c = 0; c < kColumns; ++c) token[c] = V::load(xt + d * kMergeBlock + j + c * kLanes);
      for (int r = 0; r < R; ++r) {
        const T value = V::set1(q[r * a.ldq + d]);
        for (int c = 0; c < kColumns; ++c) acc[r][c] = V::fma(value, token[c], acc[r][c]);
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < kColumns; ++c) V::store(s + r * kMergeBlock + j + c * kLanes, acc[r][c]);
    }
  }
}

// Turns the scores of one row into weights relative to its new maximum; updates m and l.
// Returns the factor of what was summed before.
template <typename V>
inline float merge_weights(float* s, float& m, float& l) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  T top = V::set1(kMergeLowest);
  for (std::int64_t j = 0; j < kMergeBlock; j += kLanes) top = V::max(V::load(s + j), top);
  const float block_max = V::max_lane(top);
  const float max = block_max > m ? block_max : m;
  if (max == kMergeLowest) {
    // Nothing but masked tokens so far (or NaN, which the sums below carry on).
    T bad = V::zero();
    for (std::int64_t j = 0; j < kMergeBlock; j += kLanes) {
      const T v = V::load(s + j);
      const T nan_or_zero = V::where_below(v, V::zero(), V::zero(), v);
      bad = V::add(bad, nan_or_zero);
      V::store(s + j, nan_or_zero);
    }
    l += V::sum(bad);
    return 1.0f;
  }
  const T max_v = V::set1(max);
  T part = V::zero();
  for (std::int64_t j = 0; j < kMergeBlock; j += kLanes) {
    const T e = exp_of<V>(V::sub(V::load(s + j), max_v));
    V::store(s + j, e);
    part = V::add(part, e);
  }
  const float factor = m == kMergeLowest ? 0.0f : std::exp(m - max);
  m = max;
  l = l * factor + V::sum(part);
  return factor;
}

// Columns [d, d + C vectors) of R rows: R C sums hide the latency of the multiply-add.
template <typename V, int R, int C>
inline void merge_accumulate_tile(const MergeAttentionArgs& a, std::int64_t row, std::int64_t d,
                                  const float* x, std::int64_t count, const float* s,
                                  const float (&factor)[R]) noexcept {
  using T = typename V::T;
  float* o = a.o + row * a.ldo + d;
  T acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      acc[r][c] = V::mul(V::load(o + r * a.ldo + c * V::kLanes), V::set1(factor[r]));
    }
  }
  for (std::int64_t j = 0; j < count; ++j) {
    T value[C];
    for (int c = 0; c < C; ++c) value[c] = V::load(x + j * a.ldx + d + c * V::kLanes);
    for (int r = 0; r < R; ++r) {
      const T weight = V::set1(s[r * kMergeBlock + j]);
      for (int c = 0; c < C; ++c) acc[r][c] = V::fma(weight, value[c], acc[r][c]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) V::store(o + r * a.ldo + c * V::kLanes, acc[r][c]);
  }
}

// o_R = o_R * factor_R + weights x tokens, `count` tokens.
template <typename V, int R>
inline void merge_accumulate(const MergeAttentionArgs& a, std::int64_t row, std::int64_t token,
                             std::int64_t count, const float* s,
                             const float (&factor)[R]) noexcept {
  constexpr int kLanes = V::kLanes;
  // 4 x 2 sums and 3 more fit the 16 registers of AVX2, 4 x 4 and 5 the 32 of AVX-512 and
  // NEON.
  constexpr int kWide = V::kNumRegisters == 32 ? 4 : 2;
  const float* x = a.x + token * a.ldx;
  float* o = a.o + row * a.ldo;
  std::int64_t d = 0;
  for (; d + kWide * kLanes <= a.width; d += kWide * kLanes) {
    merge_accumulate_tile<V, R, kWide>(a, row, d, x, count, s, factor);
  }
  for (; d + kLanes <= a.width; d += kLanes) {
    merge_accumulate_tile<V, R, 1>(a, row, d, x, count, s, factor);
  }
  for (; d < a.width; ++d) {
    for (int r = 0; r < R; ++r) {
      float acc = o[r * a.ldo + d] * factor[r];
      for (std::int64_t j = 0; j < count; ++j) acc += s[r * kMergeBlock + j] * x[j * a.ldx + d];
      o[r * a.ldo + d] = acc;
    }
  }
}

template <typename V, int R>
inline void merge_block(const MergeAttentionArgs& a, std::int64_t row, std::int64_t token,
                        std::int64_t count, const float* xt, float* s, float* m,
                        float* l) noexcept {
  merge_scores<V, R>(a, row, xt, s);
  float factor[R];
  for (int r = 0; r < R; ++r) {
    float* own = s + r * kMergeBlock;
    if (a.mask != nullptr) {
      for (std::int64_t j = 0; j < count; ++j) own[j] += a.mask[token + j];
    }
    for (std::int64_t j = count; j < kMergeBlock; ++j) own[j] = kMergeLowest;
    factor[r] = merge_weights<V>(own, m[row + r], l[row + r]);
  }
  merge_accumulate<V, R>(a, row, token, count, s, factor);
}

template <typename V>
void merge_attention_rows(const MergeAttentionArgs& a, float* scratch) noexcept {
  float* xt = scratch;
  float* s = xt + kMergeBlock * a.width;
  float* m = s + 4 * kMergeBlock;
  float* l = m + a.num_rows;
  for (std::int64_t row = 0; row < a.num_rows; ++row) {
    m[row] = kMergeLowest;
    l[row] = 0.0f;
    for (std::int64_t d = 0; d < a.width; ++d) a.o[row * a.ldo + d] = 0.0f;
  }
  for (std::int64_t token = 0; token < a.num_tokens; token += kMergeBlock) {
    const std::int64_t rest = a.num_tokens - token;
    const std::int64_t count = rest < kMergeBlock ? rest : kMergeBlock;
    for (std::int64_t j = 0; j < kMergeBlock; ++j) {
      const float* from = a.x + (token + j) * a.ldx;
      for (std::int64_t d = 0; d < a.width; ++d) {
        xt[d * kMergeBlock + j] = j < count ? from[d] : 0.0f;
      }
    }
    std::int64_t row = 0;
    for (; row + 4 <= a.num_rows; row += 4) merge_block<V, 4>(a, row, token, count, xt, s, m, l);
    for (; row < a.num_rows; ++row) merge_block<V, 1>(a, row, token, count, xt, s, m, l);
  }
  for (std::int64_t row = 0; row < a.num_rows; ++row) {
    const float inverse = l[row] == 0.0f ? 0.0f : 1.0f / l[row];
    for (std::int64_t d = 0; d < a.width; ++d) a.o[row * a.ldo + d] *= inverse;
    if (a.lse != nullptr) a.lse[row] = m[row] + std::log(l[row]);
  }
}

template <typename V>
void merge_attention_weights(const MergeAttentionArgs& a, float* w, std::int64_t ldw) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  for (std::int64_t row = 0; row < a.num_rows; ++row) {
    const float* q = a.q + row * a.ldq;
    for (std::int64_t j = 0; j < a.num_tokens; ++j) {
      const float* x = a.x + j * a.ldx;
      T part = V::zero();
      std::int64_t d = 0;
      for (; d + kLanes <= a.width; d += kLanes) {
        part = V::fma(V::load(q + d), V::load(x + d), part);
      }
      float score = V::sum(part);
      for (; d < a.width; ++d) score += q[d] * x[d];
      if (a.mask != nullptr) score += a.mask[j];
      const bool masked = score == kMergeLowest || a.lse[row] == kMergeLowest;
      w[row * ldw + j] = masked ? 0.0f : std::exp(score - a.lse[row]);
    }
  }
}

}  // namespace tokenfuse
