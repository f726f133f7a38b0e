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
  const std::int64_t whole = k / kLanes * kLanes;
  for (std::int64_t i = 0; i < m; ++i, x += ldx, q += ldq) {
    T top = V::zero();
    for (std::int64_t j = 0; j < whole; j += kLanes) top = V::max(V::abs(V::load(x + j)), top);
    float max = V::max_lane(top);
    for (std::int64_t j = whole; j < k; ++j) max = std::max(max, std::fabs(x[j]));
    const float inverse = max < kQuantizeLeast ? 0.0f : kQuantizeLargest / max;
    const T inverse_v = V::set1(inverse);
    // Sums of integers, so exact; NaN where x has one, or infinity (infinity times 0).
    T part = V::zero();
    for (std::int64_t j = 0; j < whole; j += kLanes) {
      const T value = V::round(V::mul(V::load(x + j), inverse_v));
      part = V::add(part, value);
      V::store_s8(q + j, value);
    }
    float total = V::sum(part);
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
