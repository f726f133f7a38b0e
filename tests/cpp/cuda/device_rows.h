// Rows of 16-bit values as kernels take them, and the schedules under which a kernel must give the
// same bits.
//
// As in rows.h the allocation ends with the last row, for AddressSanitizer; what lies between rows
// is NaN, and a write to it is seen.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "core/cuda/emulator.h"
#include "core/cuda/half_types.h"
#include "rows.h"

namespace tokenfuse::test {

// Of the rounding to nearest: error / value, and the error below the normal numbers.
template <typename T>
struct Rounding;
template <>
struct Rounding<cuda::Half> {
  static constexpr double kShare = 0x1p-11, kLeast = 0x1p-25, kLargest = 65504.0;
  static constexpr cuda::Type kType = cuda::Type::kHalf;
};
template <>
struct Rounding<cuda::Bf16> {
  static constexpr double kShare = 0x1p-8, kLeast = 0x1p-134, kLargest = 0x1.fep127;
  static constexpr cuda::Type kType = cuda::Type::kBf16;
};

template <typename T>
class HalfRows {
 public:
  // `padded`: columns that exist, from `width` on.
  HalfRows(std::int64_t num_rows, std::int64_t width, std::int64_t padded, std::int64_t stride,
           std::int64_t offset = 0)
      : num_rows_(num_rows),
        width_(width),
        stride_(stride),
        offset_(offset),
        size_(offset + (num_rows - 1) * stride + padded),
        memory_(static_cast<std::size_t>(size_) * sizeof(T)) {}

  T* data() const { return static_cast<T*>(memory_.data()) + offset_; }
  float at(std::int64_t i, std::int64_t j) const { return to_float(data()[i * stride_ + j]); }
  void set(std::int64_t i, std::int64_t j, float value) const {
    data()[i * stride_ + j] = cuda::from_float<T>(value);
  }
  void clear() const { std::memset(memory_.data(), 0xff, memory_.bytes()); }
  std::int64_t stride() const { return stride_; }
  std::int64_t num_rows() const { return num_rows_; }
  std::int64_t width() const { return width_; }
  bool gaps_unset() const {
    const T* all = static_cast<const T*>(memory_.data());
    for (std::int64_t i = 0; i < size_; ++i) {
      const bool in_row = i >= offset_ && (i - offset_) % stride_ < width_;
      if (!in_row && all[i].bits != 0xffff) return false;
    }
    return true;
  }

 private:
  std::int64_t num_rows_, width_, stride_, offset_, size_;
  cuda::DeviceBuffer memory_;
};

inline std::vector<cuda::emulator::Schedule> schedules() {
  using Order = cuda::emulator::Schedule::Order;
  return {{Order::kForward, true, 1},
          {Order::kBackward, true, 1},
          {Order::kShuffled, true, 2},
          {Order::kForward, false, 1},
          {Order::kShuffled, false, 3}};
}

}  // namespace tokenfuse::test
