// `quantize` for any vector type V.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/quantize/quantize.h"

namespace tokenfuse {

inline constexpr float kQuantizeLargest = 127.0f;
// Below it 127 / max comes near the largest float.
inline constexpr float kQuantizeLeast = 1e-30f;

template <typename V>
void quantize_rows(const float* x, std::int64_t ldx, std::int8_t* q, std::int64_t ldq, float* scale,
                   std::int32_t* sum, std::int64_t m, std::int64_t k) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  constexpr int kChains = 4;
  constexpr int kStep = kChains * kLanes;
  const std::int64_t whole = k / kLanes * kLanes;
  for (std::int64_t i = 0; i < m; ++i, x += ldx, q += ldq) {
    // Four chains each, which hide the latency of a maximum and of an addition.
    T tops[kChains], parts[kChains];
    for (int c = 0; c < kChains; ++c) tops[c] = parts[c] = V::zero();
    std::int64_t at = 0;
    for (; at + kStep <= k; at += kStep) {
      for (int c = 0; c < kChains; ++c) {
        tops[c] = V::max(V::abs(V::load(x + at + c * kLanes)), tops[c]);
      }
    }
    for (; at < whole; at += kLanes) tops[0] = V::max(V::abs(V::load(x + at)), tops[0]);
    float max = V::max_lane(V::max(V::max(tops[0], tops[1]), V::max(tops[2], tops[3])));
    for (std::int64_t j = whole; j < k; ++j) max = std::max(max, std::fabs(x[j]));
    const float inverse = max < kQuantizeLeast ? 0.0f : kQuantizeLargest / max;
    const T inverse_v = V::set1(inverse);
    // Sums of integers, so exact; NaN where x has one, or infinity (infinity times 0).
    const auto take = [&](std::int64_t j, T& part) {
      const T value = V::round(V::mul(V::load(x + j), inverse_v));
      part = V::add(part, value);
      V::store_s8(q + j, value);
    };
    for (at = 0; at + kStep <= k; at += kStep) {
      for (int c = 0; c < kChains; ++c) take(at + c * kLanes, parts[c]);
    }
    for (; at < whole; at += kLanes) take(at, parts[0]);
    float total = V::sum(V::add(V::add(parts[0], parts[1]), V::add(parts[2], parts[3])));
    for (std::int64_t j = whole; j < k; ++j) {
      const float value = std::nearbyintf(x[j] * inverse);
      total += value;
      q[j] = value == value ? static_cast<std::int8_t>(value) : std::int8_t{0};
    }
    std::fill(q + k, q + ldq, std::int8_t{0});
    const bool finite = total == total;
    scale[i] = !finite           ? std::numeric_limits<float>::quiet_NaN()
               : inverse == 0.0f ? 0.0f
                                 : max / kQuantizeLargest;
    sum[i] = finite ? static_cast<std::int32_t>(total) : 0;
  }
}

}  // namespace tokenfuse
