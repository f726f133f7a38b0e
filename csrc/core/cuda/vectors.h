// Rows of floats read and written four values at a time, where their addresses allow it.
#pragma once

#include <cstdint>

#include "core/cuda/device.h"

namespace tokenfuse::cuda {

// Whether rows of floats can be read (written) four at a time.
inline bool rows_of_vectors(const float* rows, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(rows) % 16 == 0 && stride % 4 == 0;
}

// Read or written at once.
struct alignas(8) TwoFloats {
  float values[2];
};
struct alignas(16) FourFloats {
  float values[4];
};

// Columns `column`, a multiple of 4, and the next three of a row of n; `fill` behind n.
TF_DEVICE void load_4(float values[4], const float* row, int column, int n, bool vectors,
                      float fill) {
  if (vectors && column + 4 <= n) {
    const FourFloats four = *reinterpret_cast<const FourFloats*>(row + column);
    TF_UNROLL for (int i = 0; i < 4; ++i) values[i] = four.values[i];
    return;
  }
  TF_UNROLL for (int i = 0; i < 4; ++i) values[i] = column + i < n ? row[column + i] : fill;
}

// The same, to a row; nothing is written behind n.
TF_DEVICE void store_4(float* row, int column, int n, bool vectors, const float values[4]) {
  if (vectors && column + 4 <= n) {
    *reinterpret_cast<FourFloats*>(row + column) = {{values[0], values[1], values[2], values[3]}};
    return;
  }
  TF_UNROLL for (int i = 0; i < 4; ++i) {
    if (column + i < n) row[column + i] = values[i];
  }
}

// Four values of 16 bits, to an address that is a multiple of 8.
template <typename T>
TF_DEVICE void store_4(T* to, const float values[4]) {
  struct alignas(8) Words {
    std::uint32_t low, high;
  };
  *reinterpret_cast<Words*>(to) = {pack<T>(values[0], values[1]), pack<T>(values[2], values[3])};
}

}  // namespace tokenfuse::cuda
