// Rows of float32 to rows of 16-bit values on the host and back, for what comes from NumPy.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "bind/cuda/device_arrays.h"
#include "core/cuda/half_types.h"

namespace tokenfuse::cuda {

struct HalfRowShape {
  std::int64_t rows, width, stride;  // stride of the 16-bit rows; the floats are contiguous
};

// "fp16", "bf16" or "fp32"; `option` is what the caller calls it.
inline Dtype dtype_of_precision(const std::string& precision, const char* option = "precision") {
  if (precision == "fp16") return Dtype::kHalf;
  if (precision == "bf16") return Dtype::kBf16;
  if (precision == "fp32") return Dtype::kFloat;
  throw std::invalid_argument(option + (" '" + precision) + "'; need fp16, bf16 or fp32");
}

namespace half_rows {

template <typename T>
void to_halves(const float* from, const HalfRowShape& shape, T* to) {
  for (std::int64_t i = 0; i < shape.rows; ++i, to += shape.stride) {
    for (std::int64_t j = 0; j < shape.width; ++j) to[j] = from_float<T>(*from++);
    for (std::int64_t j = shape.width; j < shape.stride; ++j) to[j] = T{0};
  }
}

template <typename T>
void to_floats(const T* from, const HalfRowShape& shape, float* to) {
  for (std::int64_t i = 0; i < shape.rows; ++i, from += shape.stride) {
    for (std::int64_t j = 0; j < shape.width; ++j) *to++ = to_float(from[j]);
  }
}

}  // namespace half_rows

// With zeros behind each row.
inline void rows_to_halves(Dtype dtype, const float* from, const HalfRowShape& shape, void* to) {
  if (dtype == Dtype::kHalf) return half_rows::to_halves(from, shape, static_cast<Half*>(to));
  half_rows::to_halves(from, shape, static_cast<Bf16*>(to));
}

inline void rows_to_floats(Dtype dtype, const void* from, const HalfRowShape& shape, float* to) {
  if (dtype == Dtype::kHalf) return half_rows::to_floats(static_cast<const Half*>(from), shape, to);
  half_rows::to_floats(static_cast<const Bf16*>(from), shape, to);
}

}  // namespace tokenfuse::cuda
