// `gated_add` for any vector type V.
#pragma once

#include "kernels/gated_add/gated_add.h"

namespace tokenfuse {

template <typename V>
void gated_add_rows(float a, const float* x, float b, const float* z, float* y,
                    std::int64_t n) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  const T a_v = V::set1(a), b_v = V::set1(b);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    V::store(y + i, V::fma(a_v, V::load(x + i), V::mul(b_v, V::load(z + i))));
  }
  for (; i < n; ++i) y[i] = a * x[i] + b * z[i];
}

}  // namespace tokenfuse
