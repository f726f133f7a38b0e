// `attention_int16` for any set of 16-bit integer instructions K, with their vector type K::V.
//
// Keys become [vector of keys][pair of head columns][key], values [pair of keys][column], so that
// both products are a broadcast pair times a vector of pairs. A tile is R query rows by C vectors,
// with all of its sums in registers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/row_tiles.h"
#include "core/simd/math.h"
#include "kernels/attention_int16/attention_int16.h"

namespace tokenfuse {

inline constexpr float kInt16Largest = 32767.0f;

// A call's arguments and its scratch.
struct AttentionInt16Call {
  const AttentionArgs& a;
  AttentionInt16Layout layout;
  std::int32_t* keys;    // packed
  std::int32_t* values;  // packed
  float* value_scale;
  std::int32_t* rows;  // words on their way into `keys`
  float* scores;
  std::int32_t* queries;
  std::int32_t* weights;
  float largest;  // of the integers of queries and keys
  float key_scale;

  AttentionInt16Call(const AttentionArgs& args, void* scratch) noexcept
      : a(args), layout(args.num_keys, args.head_dim) {
    const auto at = [&](std::size_t offset) { return static_cast<char*>(scratch) + offset; };
    keys = reinterpret_cast<std::int32_t*>(at(layout.packed_keys));
    values = reinterpret_cast<std::int32_t*>(at(layout.packed_values));
    value_scale = reinterpret_cast<float*>(at(layout.value_scale));
    rows = reinterpret_cast<std::int32_t*>(at(layout.rows));
    scores = reinterpret_cast<float*>(at(layout.scores));
    queries = reinterpret_cast<std::int32_t*>(at(layout.queries));
    weights = reinterpret_cast<std::int32_t*>(at(layout.weights));
    // The largest n with h n^2 < 2^31, and no more than 16 bits.
    const double h = static_cast<double>(std::max<std::int64_t>(args.head_dim, 1));
    largest = std::min(kInt16Largest, static_cast<float>(std::floor(std::sqrt(2147483647.0 / h))));
    key_scale = 0.0f;
  }
};

// largest / max, and 0 where max is so small that this comes near the largest float.
inline float int16_inverse(float largest, float max) noexcept {
  return max < 1e-30f ? 0.0f : largest / max;
}
// The step that belongs to it; NaN where the largest is NaN or infinite.
inline float int16_step(float largest, float max) noexcept {
  if (!std::isfinite(max)) return std::numeric_limits<float>::quiet_NaN();
  return max < 1e-30f ? 0.0f : max / largest;
}

// `count` floats of a row, in whole vectors; zeros behind them.
template <typename V, typename Body>
inline void for_row_vectors(const float* p, std::int64_t count, Body&& body) noexcept {
  std::int64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) body(i, V::load(p + i));
  if (i < count) body(i, V::load_n(p + i, static_cast<int>(count - i), 0.0f));
}

// The greatest magnitude of all vectors it saw; NaN once there was NaN or infinity.
template <typename V>
struct Int16Top {
  typename V::T top = V::zero(), bad = V::zero();

  void add(typename V::T value) noexcept {
    top = V::max(V::abs(value), top);
    bad = V::add(bad, V::sub(value, value));
  }
  float max() const noexcept { return V::max_lane(top) + V::sum(bad); }
};

template <typename K>
inline void int16_quantize_row(const float* x, std::int64_t count, float inverse,
                               std::int32_t* words) noexcept {
  using V = typename K::V;
  auto* to = reinterpret_cast<std::int16_t*>(words);
  for_row_vectors<V>(x, count, [&](std::int64_t i, typename V::T value) {
    K::store_s16(to + i, V::round(V::mul(value, V::set1(inverse))));
  });
}

template <typename K>
inline void int16_pack_keys(AttentionInt16Call& call) noexcept {
  using V = typename K::V;
  const AttentionArgs& a = call.a;
  const AttentionInt16Layout& layout = call.layout;
  Int16Top<V> top;
  for (std::int64_t j = 0; j < a.num_keys; ++j) {
    for_row_vectors<V>(a.k + j * a.ldk, a.head_dim,
                       [&](std::int64_t, typename V::T value) { top.add(value); });
  }
  const float max = top.max();
  const float inverse = int16_inverse(call.largest, max);
  call.key_scale = int16_step(call.largest, max);
  constexpr int kLanes = V::kLanes;
  const std::int64_t used_pairs = (a.head_dim + 1) / 2;
  std::fill(call.rows, call.rows + kLanes * layout.pairs, 0);
  for (std::int64_t j = 0; j < a.num_keys; j += kLanes) {
    const std::int64_t count = std::min<std::int64_t>(kLanes, a.num_keys - j);
    for (std::int64_t i = 0; i < count; ++i) {
      int16_quantize_row<K>(a.k + (j + i) * a.ldk, a.head_dim, inverse,
                            call.rows + i * layout.pairs);
    }
    for (std::int64_t p = 0; p < used_pairs; p += kLanes) {
      K::transpose(call.rows + p, layout.pairs, call.keys + j * layout.pairs + p * kLanes);
    }
  }
}

template <typename K>
inline void int16_pack_values(AttentionInt16Call& call) noexcept {
  using V = typename K::V;
  using T = typename V::T;
  const AttentionArgs& a = call.a;
  const std::int64_t columns = call.layout.columns;
  for (std::int64_t d = 0; d < a.head_dim; d += V::kLanes) {
    const int count = static_cast<int>(std::min<std::int64_t>(V::kLanes, a.head_dim - d));
    const auto value = [&](std::int64_t j) {
      const float* p = a.v + j * a.ldv + d;
      return count == V::kLanes ? V::load(p) : V::load_n(p, count, 0.0f);
    };
    Int16Top<V> top;
    for (std::int64_t j = 0; j < a.num_keys; ++j) top.add(value(j));
    // A column of zeros: 0 / tiny. NaN goes into the step alone.
    const T floor = V::max(V::set1(1e-30f), top.top);
    const T inverse = V::div(V::set1(kInt16Largest), floor);
    V::store(call.value_scale + d, V::add(V::div(floor, V::set1(kInt16Largest)), top.bad));
    const auto rounded = [&](std::int64_t j) { return V::round(V::mul(value(j), inverse)); };
    std::int32_t* to = call.values + d;
    std::int64_t j = 0;
    for (; j + 2 <= a.num_keys; j += 2, to += columns) {
      K::store(to, K::pair(rounded(j), rounded(j + 1)));
    }
    if (j < a.num_keys) K::store(to, K::pair(rounded(j), V::zero()));
  }
}

// R rows of words `stride` apart, times C vectors of words per step: acc[r][c] of `steps` pairs.
template <typename K, int R, int C>
inline void int16_products(const std::int32_t* rows, std::int64_t stride,
                           const std::int32_t* const (&vectors)[C], std::int64_t step,
                           std::int64_t steps, typename K::T (&acc)[R][C]) noexcept {
  // Unrolled, here and wherever sums are used: one index that is not a constant puts all of them
  // into memory.
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) acc[r][c] = K::zero();
  }
  RowPointers<R, std::int32_t> at(rows, stride);
  for (std::int64_t p = 0; p < steps; ++p, at.step(1)) {
    typename K::T b[C];
    for (int c = 0; c < C; ++c) b[c] = K::load(vectors[c] + p * step);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const typename K::T value = K::set1(*at[r]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = K::dot(acc[r][c], b[c], value);
    }
  }
}

template <typename K, int R, int C>
inline void int16_score_tile(const AttentionInt16Call& call, std::int64_t key,
                             const float (&scale)[R]) noexcept {
  using V = typename K::V;
  const std::int64_t pairs = call.layout.pairs;
  const std::int32_t* vectors[C];
  for (int c = 0; c < C; ++c) vectors[c] = call.keys + (key + c * V::kLanes) * pairs;
  typename K::T acc[R][C];
  int16_products<K, R, C>(call.queries, pairs, vectors, V::kLanes, (call.a.head_dim + 1) / 2, acc);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    float* to = call.scores + r * call.layout.keys + key;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      V::store(to + c * V::kLanes, V::mul(K::to_float(acc[r][c]), V::set1(scale[r])));
    }
  }
}

// Scores of a row to weights of 16 bits. Returns what the row's sums are to be multiplied by: NaN
// where a score was NaN.
template <typename K>
inline float int16_weights(float* s, std::int64_t n, std::int32_t* words) noexcept {
  using V = typename K::V;
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  auto* to = reinterpret_cast<std::int16_t*>(words);
  T top = V::set1(kLowest);
  for (std::int64_t j = 0; j < n; j += kLanes) top = V::max(V::load(s + j), top);
  const float max = V::max_lane(top);
  if (max == kLowest) {
    // Nothing but masked keys, or NaN, which the row must carry on.
    T bad = V::zero();
    for (std::int64_t j = 0; j < n; j += kLanes) {
      const T v = V::load(s + j);
      bad = V::add(bad, V::where_below(v, V::zero(), V::zero(), v));
      K::store_s16(to + j, V::zero());
    }
    return V::sum(bad);
  }
  const T log2e = V::set1(1.44269504f), top_v = V::set1(max);
  T part = V::zero();
  for (std::int64_t j = 0; j < n; j += kLanes) {
    const T e = exp2_near_of<V>(V::mul(V::sub(V::load(s + j), top_v), log2e));
    V::store(s + j, e);
    part = V::add(part, e);
  }
  const float sum = V::sum(part);
  const T scale = V::set1(kInt16Largest / sum);
  for (std::int64_t j = 0; j < n; j += kLanes) {
    K::store_s16(to + j, V::round(V::mul(V::load(s + j), scale)));
  }
  return sum == sum ? 1.0f / kInt16Largest : sum;
}

template <typename K, int R, int C>
inline void int16_value_tile(const AttentionInt16Call& call, std::int64_t query, std::int64_t d,
                             const float (&factor)[R]) noexcept {
  using V = typename K::V;
  using T = typename V::T;
  const AttentionArgs& a = call.a;
  const std::int32_t* vectors[C];
  for (int c = 0; c < C; ++c) vectors[c] = call.values + d + c * V::kLanes;
  typename K::T acc[R][C];
  int16_products<K, R, C>(call.weights, call.layout.keys / 2, vectors, call.layout.columns,
                          (a.num_keys + 1) / 2, acc);
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    const std::int64_t at = d + c * V::kLanes, left = a.head_dim - at;
    const T step = V::load(call.value_scale + at);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const T value = V::mul(V::mul(K::to_float(acc[r][c]), step), V::set1(factor[r]));
      float* to = a.o + (query + r) * a.ldo + at;
      if (left >= V::kLanes) {
        V::store(to, value);
      } else {
        V::store_n(to, value, static_cast<int>(left));
      }
    }
  }
}

template <typename K, int R, int C>
inline void int16_block(const AttentionInt16Call& call, std::int64_t query) noexcept {
  using V = typename K::V;
  constexpr int kLanes = V::kLanes;
  const AttentionArgs& a = call.a;
  const AttentionInt16Layout& layout = call.layout;
  float scale[R];
  for (int r = 0; r < R; ++r) {
    const float* q = a.q + (query + r) * a.ldq;
    Int16Top<V> top;
    for_row_vectors<V>(q, a.head_dim, [&](std::int64_t, typename V::T value) { top.add(value); });
    const float max = top.max();
    int16_quantize_row<K>(q, a.head_dim, int16_inverse(call.largest, max),
                          call.queries + r * layout.pairs);
    scale[r] = int16_step(call.largest, max) * call.key_scale * a.scale;
  }
  std::int64_t j = 0;
  const std::int64_t vector_end = (a.num_keys + kLanes - 1) / kLanes * kLanes;
  for (; j + C * kLanes <= vector_end; j += C * kLanes) int16_score_tile<K, R, C>(call, j, scale);
  for (; j < vector_end; j += kLanes) int16_score_tile<K, R, 1>(call, j, scale);
  float factor[R];
  for (int r = 0; r < R; ++r) {
    float* s = call.scores + r * layout.keys;
    if (a.bias != nullptr) {
      const float* bias = a.bias + (query + r) * a.ldb;
      for (std::int64_t k = 0; k < a.num_keys; ++k) s[k] += bias[k];
    }
    std::fill(s + a.num_keys, s + layout.keys, -std::numeric_limits<float>::infinity());
    factor[r] = int16_weights<K>(s, layout.keys, call.weights + r * layout.keys / 2);
  }
  std::int64_t d = 0;
  for (; d + C * kLanes <= a.head_dim; d += C * kLanes) {
    int16_value_tile<K, R, C>(call, query, d, factor);
  }
  for (; d < a.head_dim; d += kLanes) int16_value_tile<K, R, 1>(call, query, d, factor);
}

template <typename K, int R, int C>
void attention_int16_rows(const AttentionArgs& args, void* scratch) noexcept {
  static_assert(R <= AttentionInt16Layout::kMaxRows);
  AttentionInt16Call call(args, scratch);
  int16_pack_keys<K>(call);
  int16_pack_values<K>(call);
  // Behind an odd head_dim the second of a pair is never written.
  std::fill(call.queries, call.queries + R * call.layout.pairs, 0);
  for_row_tiles<R>(0, args.num_queries, [&](auto rows, std::int64_t query) {
    int16_block<K, decltype(rows)::value, C>(call, query);
  });
}

}  // namespace tokenfuse
