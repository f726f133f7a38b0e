// Rows of floats on the heap, exactly as large as the contract says, and their comparison.
//
// Behind the last float of the last row the allocation ends, so that AddressSanitizer and
// valgrind see a read or a write too far. What lies between rows is NaN of a known payload:
// a read of it spoils the result, a write to it is seen by `check_gaps`.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "check.h"
#include "core/isa.h"

namespace tokenfuse::test {

inline constexpr double kEps = std::numeric_limits<float>::epsilon();
inline constexpr double kTiny = std::numeric_limits<float>::min();
inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// SplitMix64: the same numbers on every machine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // In [-scale, scale).
  float uniform(float scale) {
    return scale * (static_cast<float>(next() >> 40) * (1.0f / 8388608.0f) - 1.0f);
  }

 private:
  std::uint64_t state_;
};

class Rows {
 public:
  // Rows begin `width + gap` floats apart; `offset` floats lie before the first, so that 1
  // puts all rows out of a vector's alignment.
  Rows(std::int64_t num_rows, std::int64_t width, std::int64_t gap = 0, std::int64_t offset = 0)
      : num_rows_(num_rows), width_(width), stride_(width + gap), offset_(offset) {
    size_ = offset + (num_rows == 0 ? 0 : (num_rows - 1) * stride_ + width);
    floats_.reset(new float[static_cast<std::size_t>(size_)]);
    for (std::int64_t i = 0; i < size_; ++i) std::memcpy(&floats_[i], &kUnset, sizeof(kUnset));
  }

  static Rows random(std::uint64_t seed, float scale, std::int64_t num_rows, std::int64_t width,
                     std::int64_t gap = 0, std::int64_t offset = 0) {
    Rows rows(num_rows, width, gap, offset);
    Random numbers(seed);
    for (std::int64_t i = 0; i < num_rows; ++i) {
      for (std::int64_t j = 0; j < width; ++j) rows.at(i, j) = numbers.uniform(scale);
    }
    return rows;
  }

  float* data() const { return floats_.get() + offset_; }
  float& at(std::int64_t i, std::int64_t j) const { return data()[i * stride_ + j]; }
  std::int64_t num_rows() const { return num_rows_; }
  std::int64_t width() const { return width_; }
  std::int64_t stride() const { return stride_; }

  Rows copy() const {
    Rows other(num_rows_, width_, stride_ - width_, offset_);
    if (size_ > 0) std::memcpy(other.floats_.get(), floats_.get(), size_bytes());
    return other;
  }
  void fill(float value) const {
    for (std::int64_t i = 0; i < num_rows_; ++i) {
      for (std::int64_t j = 0; j < width_; ++j) at(i, j) = value;
    }
  }
  // Nothing was written before, between or behind the rows.
  bool gaps_unset() const {
    for (std::int64_t i = 0; i < size_; ++i) {
      const std::int64_t from_first = i - offset_;
      const bool in_row = from_first >= 0 && from_first % stride_ < width_;
      if (!in_row && !unset(floats_[i])) return false;
    }
    return true;
  }
  bool row_is_unset(std::int64_t i) const {
    for (std::int64_t j = 0; j < width_; ++j) {
      if (!unset(at(i, j))) return false;
    }
    return true;
  }
  bool same_bits(const Rows& other) const {
    if (num_rows_ != other.num_rows_ || width_ != other.width_) return false;
    for (std::int64_t i = 0; i < num_rows_; ++i) {
      const auto bytes = static_cast<std::size_t>(width_) * sizeof(float);
      if (width_ > 0 && std::memcmp(&at(i, 0), &other.at(i, 0), bytes) != 0) return false;
    }
    return true;
  }
  bool row_is_nan(std::int64_t i) const {
    for (std::int64_t j = 0; j < width_; ++j) {
      if (!std::isnan(at(i, j))) return false;
    }
    return true;
  }
  bool row_is_finite(std::int64_t i) const {
    for (std::int64_t j = 0; j < width_; ++j) {
      if (!std::isfinite(at(i, j))) return false;
    }
    return true;
  }

 private:
  static constexpr std::uint32_t kUnset = 0x7FC0DEADu;

  static bool unset(float value) { return std::memcmp(&value, &kUnset, sizeof(kUnset)) == 0; }
  std::size_t size_bytes() const { return static_cast<std::size_t>(size_) * sizeof(float); }

  std::int64_t num_rows_, width_, stride_, offset_, size_ = 0;
  std::unique_ptr<float[]> floats_;
};

// A value in double precision and how far from it a float may be.
struct Expected {
  double value, bound;
};

// `expected(i, j)` for each element; the worst one is named. One check.
template <typename Function>
void check_rows(const char* what, const Rows& got, Function expected) {
  double worst = 0.0;
  char text[200] = "";
  for (std::int64_t i = 0; i < got.num_rows(); ++i) {
    for (std::int64_t j = 0; j < got.width(); ++j) {
      const Expected want = expected(i, j);
      const double share = std::fabs(got.at(i, j) - want.value) / want.bound;
      // A NaN compares as not less, and so is the worst.
      if (share <= worst) continue;
      worst = std::isnan(share) ? static_cast<double>(kInf) : share;
      std::snprintf(text, sizeof(text), "%s[%lld, %lld] = %.9g, want %.9g: %.3g times the bound",
                    what, static_cast<long long>(i), static_cast<long long>(j),
                    static_cast<double>(got.at(i, j)), want.value, share);
    }
  }
  check(worst <= 1.0, text, __FILE__, __LINE__);
  check(got.gaps_unset(), "nothing is written between rows", __FILE__, __LINE__);
}

inline std::vector<Isa> runnable_isas() {
  std::vector<Isa> isas;
  for (int i = 0; i < kNumIsas; ++i) {
    if (isa_available(static_cast<Isa>(i))) isas.push_back(static_cast<Isa>(i));
  }
  return isas;
}

// The layouts of rows that the contracts allow: dense, and strided out of alignment.
struct Layout {
  std::int64_t gap, offset;
};
inline constexpr Layout kLayouts[] = {{0, 0}, {3, 1}};

}  // namespace tokenfuse::test
