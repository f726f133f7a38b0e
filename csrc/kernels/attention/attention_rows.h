// `attention` for any vector type V.
//
// The keys are transposed once, so that scores and values are both products of a
// broadcast and a row: no sums across lanes in the inner loops. Four query rows
// share every load.
#pragma once

#include <limits>

#include "core/simd/math.h"
#include "kernels/attention/attention.h"

namespace tokenfuse {

// exp(s - max) in place over n floats (n a multiple of the lanes); returns the sum.
// A row of -inf alone becomes zeros with sum 0; NaN makes the sum NaN.
template <typename V>
inline float softmax_terms(float* s, std::int64_t n) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  T top = V::set1(kLowest);
  for (std::int64_t j = 0; j < n; j += kLanes) top = V::max(V::load(s + j), top);
  const float max = V::max_lane(top);
  if (max == kLowest) {
    // Nothing but masked keys, or NaN, which the sum must carry on.
    T bad = V::zero();
    for (std::int64_t j = 0; j < n; j += kLanes) {
      const T v = V::load(s + j);
      const T nan_or_zero = V::where_below(v, V::zero(), V::zero(), v);
      bad = V::add(bad, nan_or_zero);
      V::store(s + j, nan_or_zero);
    }
    return V::sum(bad);
  }
  const T max_v = V::set1(max);
  T part = V::zero();
  for (std::int64_t j = 0; j < n; j += kLanes) {
    const T e = exp_of<V>(V::sub(V::load(s + j), max_v));
    V::store(s + j, e);
    part = V::add(part, e);
  }
  return V::sum(part);
}

// Scores of R queries against keys [j, j + C vectors).
template <typename V, int R, int C>
inline void attention_score_tile(const AttentionArgs& a, const float* q, const float* kt,
                                 std::int64_t padded, std::int64_t j, float* s) noexcept {
  using T = typename V::T;
  T acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = V::zero();
  }
  for (std::int64_t d = 0; d < a.head_dim; ++d) {
    T key[C];
    for (int c = 0; c < C; ++c) key[c] = V::load(kt + d * padded + j + c * V::kLanes);
    for (int r = 0; r < R; ++r) {
      const T value = V::set1(q[r * a.ldq + d]);
      for (int c = 0; c < C; ++c) acc[r][c] = V::fma(value, key[c], acc[r][c]);
    }
  }
  const T scale = V::set1(a.scale);
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      V::store(s + r * padded + j + c * V::kLanes, V::mul(acc[r][c], scale));
    }
  }
}

// Scores of R queries against all keys, `padded` of them, into s (stride padded).
template <typename V, int R>
inline void attention_scores(const AttentionArgs& a, std::int64_t query, const float* kt,
                             std::int64_t padded, float* s) noexcept {
  constexpr int kLanes = V::kLanes;
  // 32 keys are 2 vectors of AVX-512; where 64 are left, 4 x 4 sums and 5 more fill its 32
  // registers, as those of NEON. AVX2 has room for 4 x 2.
  constexpr int kNarrow = kLanes == 1 ? 8 : 2;
  constexpr int kWide = V::kNumRegisters == 32 ? 4 : kNarrow;
  const float* q = a.q + query * a.ldq;
  std::int64_t j = 0;
  for (; j + kWide * kLanes <= padded; j += kWide * kLanes) {
    attention_score_tile<V, R, kWide>(a, q, kt, padded, j, s);
  }
  for (; j < padded; j += kNarrow * kLanes) {
    attention_score_tile<V, R, kNarrow>(a, q, kt, padded, j, s);
  }
  for (int r = 0; r < R; ++r) {
    float* row = s + r * padded;
    if (a.bias != nullptr) {
      const float* bias = a.bias + (query + r) * a.ldb;
      for (std::int64_t k = 0; k < a.num_keys; ++k) row[k] += bias[k];
    }
    for (std::int64_t k = a.num_keys; k < padded; ++k) {
      row[k] = -std::numeric_limits<float>::infinity();
    }
  }
}

// Columns [d, d + C vectors) of R rows: R C sums hide the latency of the multiply-add.
template <typename V, int R, int C>
inline void attention_value_tile(const AttentionArgs& a, std::int64_t query, std::int64_t d,
                                 const float* s, std::int64_t padded,
                                 const float (&inverse)[R]) noexcept {
  using T = typename V::T;
  T acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = V::zero();
  }
  for (std::int64_t j = 0; j < a.num_keys; ++j) {
    T value[C];
    for (int c = 0; c < C; ++c) value[c] = V::load(a.v + j * a.ldv + d + c * V::kLanes);
    for (int r = 0; r < R; ++r) {
      const T weight = V::set1(s[r * padded + j]);
      for (int c = 0; c < C; ++c) acc[r][c] = V::fma(weight, value[c], acc[r][c]);
    }
  }
  for (int r = 0; r < R; ++r) {
    float* o = a.o + (query + r) * a.ldo + d;
    for (int c = 0; c < C; ++c) {
      V::store(o + c * V::kLanes, V::mul(acc[r][c], V::set1(inverse[r])));
    }
  }
}

template <typename V, int R>
inline void attention_values(const AttentionArgs& a, std::int64_t query, const float* s,
                             std::int64_t padded, const float (&inverse)[R]) noexcept {
  constexpr int kLanes = V::kLanes;
  // 4 x 2 sums and 3 more fit the 16 registers of AVX2, 4 x 4 and 5 the 32 of AVX-512 and
  // NEON.
  constexpr int kWide = V::kNumRegisters == 32 ? 4 : 2;
  std::int64_t d = 0;
  for (; d + kWide * kLanes <= a.head_dim; d += kWide * kLanes) {
    attention_value_tile<V, R, kWide>(a, query, d, s, padded, inverse);
  }
  for (; d + kLanes <= a.head_dim; d += kLanes) {
    attention_value_tile<V, R, 1>(a, query, d, s, padded, inverse);
  }
  for (; d < a.head_dim; ++d) {
    for (int r = 0; r < R; ++r) {
      float acc = 0.0f;
      for (std::int64_t j = 0; j < a.num_keys; ++j) acc += s[r * padded + j] * a.v[j * a.ldv + d];
      a.o[(query + r) * a.ldo + d] = acc * inverse[r];
    }
  }
}

template <typename V, int R>
inline void attention_block(const AttentionArgs& a, std::int64_t query, const float* kt,
                            std::int64_t padded, float* s) noexcept {
  attention_scores<V, R>(a, query, kt, padded, s);
  float inverse[R];
  for (int r = 0; r < R; ++r) {
    const float sum = softmax_terms<V>(s + r * padded, padded);
    // Not "sum > 0": a NaN must come through.
    inverse[r] = sum == 0.0f ? 0.0f : 1.0f / sum;
  }
  attention_values<V, R>(a, query, s, padded, inverse);
}

template <typename V>
void attention_rows(const AttentionArgs& a, float* scratch) noexcept {
  const std::int64_t padded = (a.num_keys + 31) / 32 * 32;
  float* kt = scratch;
  float* s = scratch + padded * a.head_dim;
  for (std::int64_t d = 0; d < a.head_dim; ++d) {
    float* row = kt + d * padded;
    for (std::int64_t j = 0; j < a.num_keys; ++j) row[j] = a.k[j * a.ldk + d];
    for (std::int64_t j = a.num_keys; j < padded; ++j) row[j] = 0.0f;
  }
  std::int64_t query = 0;
  for (; query + 4 <= a.num_queries; query += 4) attention_block<V, 4>(a, query, kt, padded, s);
  for (; query < a.num_queries; ++query) attention_block<V, 1>(a, query, kt, padded, s);
}

}  // namespace tokenfuse
