// `gelu` for any vector type V.
#pragma once

#include "core/simd/math.h"
#include "kernels/gelu/gelu.h"

namespace tokenfuse {

template <typename V>
void gelu_rows(GeluForm form, const float* x, std::int64_t ldx, const float* z, std::int64_t ldz,
               float* y, std::int64_t ldy, std::int64_t m, std::int64_t n) noexcept {
  using T = typename V::T;
  constexpr int kLanes = V::kLanes;
  for (std::int64_t i = 0; i < m; ++i) {
    const float* from = x + i * ldx;
    const float* gate = z == nullptr ? nullptr : z + i * ldz;
    float* to = y + i * ldy;
    for (std::int64_t j = 0; j < n; j += kLanes) {
      const std::int64_t rest = n - j;
      const int count = rest < kLanes ? static_cast<int>(rest) : kLanes;
      const bool whole = count == kLanes;
      const T v = whole ? V::load(from + j) : V::load_n(from + j, count, 0.0f);
      T out = form == GeluForm::kErf ? gelu_of<V>(v) : gelu_tanh_of<V>(v);
      if (gate != nullptr) {
        out = V::mul(out, whole ? V::load(gate + j) : V::load_n(gate + j, count, 0.0f));
      }
      if (whole) {
        V::store(to + j, out);
      } else {
        V::store_n(to + j, out, count);
      }
    }
  }
}

}  // namespace tokenfuse
