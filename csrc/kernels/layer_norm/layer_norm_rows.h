// `layer_norm` for any vector type V.
#pragma once

#include <cmath>

#include "kernels/layer_norm/layer_norm.h"

namespace tokenfuse {

template <typename V>
void layer_norm_rows(const float* x, std::int64_t ldx, const float* weight, const float* bias,
                     float eps, float* y, std::int64_t ldy, std::int64_t m,
                     std::int64_t n) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  const std::int64_t whole = n / kLanes * kLanes;
  for (std::int64_t i = 0; i < m; ++i, x += ldx, y += ldy) {
    T part = V::zero();
    for (std::int64_t j = 0; j < whole; j += kLanes) part = V::add(part, V::load(x + j));
    float sum = V::sum(part);
    for (std::int64_t j = whole; j < n; ++j) sum += x[j];
    const float mean = sum / static_cast<float>(n);
    const T mean_v = V::set1(mean);
    part = V::zero();
    for (std::int64_t j = 0; j < whole; j += kLanes) {
      const T d = V::sub(V::load(x + j), mean_v);
      part = V::fma(d, d, part);
    }
    float square = V::sum(part);
    for (std::int64_t j = whole; j < n; ++j) square += (x[j] - mean) * (x[j] - mean);
    const float scale = 1.0f / std::sqrt(square / static_cast<float>(n) + eps);
    const T scale_v = V::set1(scale);
    for (std::int64_t j = 0; j < whole; j += kLanes) {
      const T d = V::mul(V::sub(V::load(x + j), mean_v), scale_v);
      V::store(y + j, V::fma(d, V::load(weight + j), V::load(bias + j)));
    }
    for (std::int64_t j = whole; j < n; ++j) {
      y[j] = (x[j] - mean) * scale * weight[j] + bias[j];
    }
  }
}

}  // namespace tokenfuse
