// `rms_norm` for any vector type V.
#pragma once

#include <cmath>

#include "kernels/rms_norm/rms_norm.h"

namespace tokenfuse {

template <typename V>
void rms_norm_rows(const float* x, std::int64_t ldx, const float* weight, float eps, float* y,
                   std::int64_t ldy, std::int64_t m, std::int64_t n) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  const std::int64_t whole = n / kLanes * kLanes;
  for (std::int64_t i = 0; i < m; ++i, x += ldx, y += ldy) {
    T part = V::zero();
    for (std::int64_t j = 0; j < whole; j += kLanes) {
      const T v = V::load(x + j);
      part = V::fma(v, v, part);
    }
    float square = V::sum(part);
    for (std::int64_t j = whole; j < n; ++j) square += x[j] * x[j];
    const float scale = 1.0f / std::sqrt(square / static_cast<float>(n) + eps);
    const T scale_v = V::set1(scale);
    for (std::int64_t j = 0; j < whole; j += kLanes) {
      V::store(y + j, V::mul(V::mul(V::load(x + j), scale_v), V::load(weight + j)));
    }
    for (std::int64_t j = whole; j < n; ++j) y[j] = x[j] * scale * weight[j];
  }
}

}  // namespace tokenfuse
