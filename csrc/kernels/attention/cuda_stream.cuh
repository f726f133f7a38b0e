// What one warp does in an attention on a GPU: 16 queries in registers, keys and values passing by
// in chunks, and a streamed softmax:
//
//   t = c q k^T + bias (in powers of 2), m' = max(m, t), p = 2^(t - m'), a = 2^(m - m'),
//   l' = a l + sum p,  o' = a o + p v
//
// A lane has columns 2 t, 2 t + 1 (t = lane % 4) of rows g and g + 8 (g = lane / 4), as
// multiply_add gives them.
#pragma once

#include <cmath>

#include "core/cuda/device.h"
#include "core/cuda/softmax.h"
#include "kernels/attention/cuda_plan.h"

namespace tokenfuse::cuda {

// One head of one batch.
template <typename T>
struct AttentionHead {
  const T *q, *k, *v;  // q: of query 0
  T* o;
  const float* bias;  // of score (query 0, key 0), or null
  int num_keys;       // that are there
  float scale;        // in powers of 2
};

template <typename T>
TF_DEVICE AttentionHead<T> attention_head(const AttentionArgs& a) {
  const std::int64_t batch = block_z(), column = block_y() * a.head_dim;
  const int first = a.first == nullptr ? 0 : *a.first;
  int num_keys = a.first == nullptr ? a.num_keys : first + a.num_queries;
  if (a.key_counts != nullptr && a.key_counts[batch] < num_keys) num_keys = a.key_counts[batch];
  if (num_keys > a.num_keys) num_keys = a.num_keys;
  return {static_cast<const T*>(a.q) + batch * a.batch_stride_q + first * a.ldq + column,
          static_cast<const T*>(a.k) + batch * a.batch_stride_k + column,
          static_cast<const T*>(a.v) + batch * a.batch_stride_v + column,
          static_cast<T*>(a.o) + batch * a.batch_stride_o + column,
          a.bias == nullptr ? nullptr : a.bias + block_y() * a.bias_head_stride - first,
          num_keys,
          a.scale * kLog2e};
}

// Rows of keys, then rows of values, zeros where there are none: what is in memory behind the
// count must not be multiplied, not even by 0. By kThreads threads, of which this is `thread`.
template <typename T, int kDim, int kKeys, int kThreads>
TF_DEVICE void copy_chunk(const AttentionArgs& a, const AttentionHead<T>& head, int chunk, T* to,
                          int thread) {
  constexpr int kVectors = kDim / 8;
  static_assert(2 * kKeys * kVectors % kThreads == 0, "each thread copies as much");
  TF_UNROLL for (int i = 0; i < 2 * kKeys * kVectors / kThreads; ++i) {
    const int at = i * kThreads + thread, row = at / kVectors, column = at % kVectors * 8;
    const int key = chunk * kKeys + row % kKeys;
    const T* from = row < kKeys ? head.k + key * a.ldk : head.v + key * a.ldv;
    copy_async(to + row * (kDim + kAttentionPad) + column, from + column,
               key < head.num_keys && column < a.head_dim);
  }
}

// Sums of a stream. `sum` is of this lane's columns until finish().
template <int kDim>
struct AttentionSums {
  float max[2], sum[2], o[kDim / 8][4];

  TF_DEVICE void clear() {
    TF_UNROLL for (int half = 0; half < 2; ++half) {
      max[half] = lowest();
      sum[half] = 0.0f;
    }
    TF_UNROLL for (int n = 0; n < kDim / 8; ++n) {
      TF_UNROLL for (int i = 0; i < 4; ++i) o[n][i] = 0.0f;
    }
  }

  // A collective of the warp.
  TF_DEVICE void finish() {
    TF_UNROLL for (int half = 0; half < 2; ++half) {
      sum[half] += shuffle_xor(sum[half], 1);
      sum[half] += shuffle_xor(sum[half], 2);
    }
  }

  // Of finished sums.
  TF_DEVICE void join(const AttentionSums& other) {
    TF_UNROLL for (int half = 0; half < 2; ++half) {
      const Join by = join_of(max[half], other.max[half]);
      max[half] = by.max;
      sum[half] = joined(sum[half], other.sum[half], by);
      TF_UNROLL for (int n = 0; n < kDim / 8; ++n) {
        TF_UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) {
          o[n][i] = joined(o[n][i], other.o[n][i], by);
        }
      }
    }
  }
};

template <typename T, int kDim>
struct AttentionQueries {
  std::uint32_t words[kDim / 16][4];
  int first, count;  // of the tile's queries, `count` are there

  // Straight into the registers: read once, and by one warp, they need no shared memory.
  TF_DEVICE void load(const AttentionArgs& a, const AttentionHead<T>& head, int from) {
    first = from;
    count = a.num_queries - from;
    TF_UNROLL for (int k = 0; k < kDim / 16; ++k) {
      TF_UNROLL for (int i = 0; i < 4; ++i) {
        const int row = lane_index() / 4 + i % 2 * 8;
        const int column = 16 * k + lane_index() % 4 * 2 + i / 2 * 8;
        const T* at = head.q + (first + row) * a.ldq + column;
        words[k][i] =
            row < count && column < a.head_dim ? *reinterpret_cast<const std::uint32_t*>(at) : 0u;
      }
    }
  }
};

// One chunk more, whose rows are in shared memory. A collective of the warp.
template <typename T, int kDim, int kKeys>
TF_DEVICE void add_chunk(const AttentionHead<T>& head, const AttentionQueries<T, kDim>& queries,
                         int chunk, const T* rows, AttentionSums<kDim>& sums) {
  constexpr int kRow = kDim + kAttentionPad;
  const int lane = lane_index();
  float s[kKeys / 8][4];
  TF_UNROLL for (int n = 0; n < kKeys / 8; ++n) {
    TF_UNROLL for (int i = 0; i < 4; ++i) s[n][i] = 0.0f;
  }
  const T* keys = rows + (lane / 16 * 8 + lane % 8) * kRow + lane / 8 % 2 * 8;
  TF_UNROLL for (int k = 0; k < kDim / 16; ++k) {
    TF_UNROLL for (int n = 0; n < kKeys / 16; ++n) {
      std::uint32_t b[4];
      load_matrices_x4(b, keys + 16 * n * kRow + 16 * k);
      multiply_add<T>(s[2 * n], queries.words[k], b);
      multiply_add<T>(s[2 * n + 1], queries.words[k], b + 2);
    }
  }

  TF_UNROLL for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    const bool has_bias = head.bias != nullptr && row < queries.count;
    const float* bias = has_bias ? head.bias - (queries.first + row) : nullptr;
    float max = sums.max[half];
    TF_UNROLL for (int n = 0; n < kKeys / 8; ++n) {
      TF_UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) {
        const int key = chunk * kKeys + 8 * n + lane % 4 * 2 + i % 2;
        const bool there = key < head.num_keys;
        const float added = has_bias && there ? bias[key] * kLog2e : 0.0f;
        s[n][i] = there ? fmaf(s[n][i], head.scale, added) : lowest();
        max = larger(max, s[n][i]);
      }
    }
    max = larger(max, shuffle_xor(max, 1));
    max = larger(max, shuffle_xor(max, 2));
    const float shift = shift_of(max), factor = exp2_fast(sums.max[half] - shift);
    sums.max[half] = max;
    float sum = 0.0f;
    TF_UNROLL for (int n = 0; n < kKeys / 8; ++n) {
      TF_UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) {
        s[n][i] = exp2_fast(s[n][i] - shift);
        sum += s[n][i];
      }
    }
    sums.sum[half] = fmaf(sums.sum[half], factor, sum);
    TF_UNROLL for (int n = 0; n < kDim / 8; ++n) {
      TF_UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) sums.o[n][i] *= factor;
    }
  }

  // Two tiles of 8 columns of scores lie in the registers as 16 columns of the left factor.
  const T* values = rows + (kKeys + lane % 16) * kRow + lane / 16 * 8;
  TF_UNROLL for (int k = 0; k < kKeys / 16; ++k) {
    const std::uint32_t p[4] = {
        pack<T>(s[2 * k][0], s[2 * k][1]), pack<T>(s[2 * k][2], s[2 * k][3]),
        pack<T>(s[2 * k + 1][0], s[2 * k + 1][1]), pack<T>(s[2 * k + 1][2], s[2 * k + 1][3])};
    TF_UNROLL for (int n = 0; n < kDim / 16; ++n) {
      std::uint32_t b[4];
      load_matrices_x4_transposed(b, values + 16 * k * kRow + 16 * n);
      multiply_add<T>(sums.o[2 * n], p, b);
      multiply_add<T>(sums.o[2 * n + 1], p, b + 2);
    }
  }
}

}  // namespace tokenfuse::cuda
