// Rows of 16-bit values as kernels take them.
//
// As in rows.h the allocation ends with the last row, for AddressSanitizer; what lies between rows
// is NaN, and a write to it is seen.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/cuda/runtime.h"
#include "rounding.h"
#include "rows.h"

namespace tokenfuse::test {

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

}  // namespace tokenfuse::test
