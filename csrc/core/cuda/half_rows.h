// Rows of float32 to rows of 16-bit values on the host and back.
#pragma once

#include <cstdint>

#include "core/cuda/half_types.h"

namespace tokenfuse::cuda {

struct HalfRowShape {
  std::int64_t rows, width, stride;  // stride of the 16-bit rows; the floats are contiguous
};

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
inline void rows_to_halves(Type type, const float* from, const HalfRowShape& shape, void* to) {
  if (type == Type::kHalf) return half_rows::to_halves(from, shape, static_cast<Half*>(to));
  half_rows::to_halves(from, shape, static_cast<Bf16*>(to));
}

inline void rows_to_floats(Type type, const void* from, const HalfRowShape& shape, float* to) {
  if (type == Type::kHalf) return half_rows::to_floats(static_cast<const Half*>(from), shape, to);
  half_rows::to_floats(static_cast<const Bf16*>(from), shape, to);
}

}  // namespace tokenfuse::cuda
