// Rows of 16-bit values in device memory, exactly as large as a contract says, with gaps between
// rows and batches whose NaN nobody may read or overwrite.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/cuda/runtime.h"
#include "rounding.h"
#include "rows.h"

namespace tokenfuse::test {

class Tensor16 {
 public:
  static constexpr std::uint16_t kUnset = 0x7fde;  // NaN in both types

  // The gap between rows, a multiple of 8; batches are two gaps more apart.
  Tensor16(cuda::Type type, int batch, int rows, int width, int gap = 0)
      : type_(type),
        batch_(batch),
        rows_(rows),
        width_(width),
        stride_(width + gap),
        batch_stride_(std::int64_t{rows} * stride_ + 2 * gap),
        size_((batch - 1) * batch_stride_ + (rows - 1) * stride_ + width),
        buffer_(static_cast<std::size_t>(size_) * 2) {
    unset();
  }

  void unset() {
    for (std::int64_t i = 0; i < size_; ++i) bits()[i] = kUnset;
  }
  void randomize(std::uint64_t seed, float scale) {
    Random numbers(seed);
    for (int b = 0; b < batch_; ++b) {
      for (int i = 0; i < rows_; ++i) {
        for (int j = 0; j < width_; ++j) set(b, i, j, numbers.uniform(scale));
      }
    }
  }
  void set(int b, int i, int j, float value) {
    bits()[at(b, i, j)] = type_ == cuda::Type::kHalf ? cuda::from_float<cuda::Half>(value).bits
                                                     : cuda::from_float<cuda::Bf16>(value).bits;
  }
  void set_row(int b, int i, float value) {
    for (int j = 0; j < width_; ++j) set(b, i, j, value);
  }
  double get(int b, int i, int j) const {
    const std::uint16_t word = bits()[at(b, i, j)];
    return static_cast<double>(type_ == cuda::Type::kHalf ? cuda::to_float(cuda::Half{word})
                                                          : cuda::to_float(cuda::Bf16{word}));
  }
  std::uint16_t word(int b, int i, int j) const { return bits()[at(b, i, j)]; }
  bool row_is_nan(int b, int i) const {
    for (int j = 0; j < width_; ++j) {
      if (!std::isnan(get(b, i, j))) return false;
    }
    return true;
  }
  bool row_is_finite(int b, int i) const {
    for (int j = 0; j < width_; ++j) {
      if (!std::isfinite(get(b, i, j))) return false;
    }
    return true;
  }
  // Nothing was written between rows and batches.
  bool gaps_unset() const {
    for (std::int64_t i = 0; i < size_; ++i) {
      const std::int64_t row = i % batch_stride_;
      const bool inside = row < std::int64_t{rows_} * stride_ && row % stride_ < width_;
      if (!inside && bits()[i] != kUnset) return false;
    }
    return true;
  }
  std::vector<unsigned char> bytes() const {
    const auto* from = static_cast<const unsigned char*>(buffer_.data());
    return {from, from + buffer_.bytes()};
  }

  cuda::Type type() const { return type_; }
  void* data() const { return buffer_.data(); }
  std::int64_t stride() const { return stride_; }
  std::int64_t batch_stride() const { return batch_stride_; }

 private:
  std::uint16_t* bits() const { return static_cast<std::uint16_t*>(buffer_.data()); }
  std::int64_t at(int b, int i, int j) const { return b * batch_stride_ + i * stride_ + j; }

  cuda::Type type_;
  int batch_, rows_, width_;
  std::int64_t stride_, batch_stride_, size_;
  cuda::DeviceBuffer buffer_;
};

}  // namespace tokenfuse::test
