// `log_sum_exp` for any vector type V.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/simd/math.h"
#include "kernels/log_sum_exp/log_sum_exp.h"

namespace tokenfuse {

// A vocabulary is long: blocks are summed in float32 and added in double, and the place of the
// largest is looked for in its block alone.
inline constexpr std::int64_t kLogSumExpBlock = 1024;
// Four chains hide the latency of a maximum and of an addition.
inline constexpr int kLogSumExpChains = 4;

template <typename V>
inline float largest_of(const float* x, std::int64_t n) noexcept {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  constexpr int kStep = kLogSumExpChains * V::kLanes;
  typename V::T tops[kLogSumExpChains];
  for (auto& top : tops) top = V::set1(kLowest);
  std::int64_t j = 0;
  for (; j + kStep <= n; j += kStep) {
    for (int c = 0; c < kLogSumExpChains; ++c) {
      tops[c] = V::max(V::load(x + j + c * V::kLanes), tops[c]);
    }
  }
  for (; j < n; j += V::kLanes) {
    const int count = static_cast<int>(std::min<std::int64_t>(V::kLanes, n - j));
    tops[0] = V::max(V::load_n(x + j, count, kLowest), tops[0]);
  }
  return V::max_lane(V::max(V::max(tops[0], tops[1]), V::max(tops[2], tops[3])));
}

// sum exp(x - largest); NaN comes through.
template <typename V>
inline float exp_sum_of(const float* x, std::int64_t n, float largest) noexcept {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  constexpr int kStep = kLogSumExpChains * V::kLanes;
  const typename V::T off = V::set1(largest);
  typename V::T parts[kLogSumExpChains];
  for (auto& part : parts) part = V::zero();
  std::int64_t j = 0;
  for (; j + kStep <= n; j += kStep) {
    for (int c = 0; c < kLogSumExpChains; ++c) {
      parts[c] = V::add(parts[c], exp_of<V>(V::sub(V::load(x + j + c * V::kLanes), off)));
    }
  }
  for (; j < n; j += V::kLanes) {
    const int count = static_cast<int>(std::min<std::int64_t>(V::kLanes, n - j));
    parts[0] = V::add(parts[0], exp_of<V>(V::sub(V::load_n(x + j, count, kLowest), off)));
  }
  return V::sum(V::add(V::add(parts[0], parts[1]), V::add(parts[2], parts[3])));
}

template <typename V>
void log_sum_exp_rows(const float* x, std::int64_t ldx, float* rest, std::int32_t* top,
                      std::int64_t m, std::int64_t n) noexcept {
  for (std::int64_t i = 0; i < m; ++i, x += ldx) {
    float largest = -std::numeric_limits<float>::infinity();
    std::int64_t at = 0;
    for (std::int64_t j = 0; j < n; j += kLogSumExpBlock) {
      const float one = largest_of<V>(x + j, std::min(kLogSumExpBlock, n - j));
      if (one <= largest) continue;
      largest = one;
      at = j;
    }
    // Not found where all are NaN or -infinity.
    const float* end = x + std::min(at + kLogSumExpBlock, n);
    const float* found = std::find(x + at, end, largest);
    top[i] = static_cast<std::int32_t>(found == end ? at : found - x);
    double sum = 0.0;
    for (std::int64_t j = 0; j < n; j += kLogSumExpBlock) {
      sum += static_cast<double>(exp_sum_of<V>(x + j, std::min(kLogSumExpBlock, n - j), largest));
    }
    rest[i] = std::isfinite(largest) ? static_cast<float>(std::log(sum))
                                     : std::numeric_limits<float>::quiet_NaN();
  }
}

}  // namespace tokenfuse
