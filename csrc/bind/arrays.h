// NumPy arrays as rows of floats, checked once.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace tokenfuse {

using FloatArray = pybind11::array_t<float>;
using Optional = std::optional<FloatArray>;

// Rows of a float32 array whose last axis is contiguous; the leading axes may be strided
// as long as they fold into one stride.
struct Rows {
  const float* data = nullptr;
  std::int64_t count = 0, width = 0, stride = 0;
};

inline void require(bool ok, const char* text) {
  if (!ok) throw std::invalid_argument(text);
}

inline Rows rows_of(const FloatArray& array, const char* name) {
  if (array.ndim() != 2) throw std::invalid_argument(std::string(name) + ": need 2 axes");
  constexpr std::int64_t kSize = sizeof(float);
  Rows rows{array.data(), array.shape(0), array.shape(1), array.strides(0) / kSize};
  if (rows.count == 0 || rows.width == 0) {
    // NumPy gives the strides of an empty array no meaning.
    rows.stride = rows.width;
    return rows;
  }
  const bool contiguous = rows.width <= 1 || array.strides(1) == kSize;
  const bool whole =
      rows.count <= 1 || (array.strides(0) % kSize == 0 && rows.stride >= rows.width);
  if (!contiguous || !whole) {
    throw std::invalid_argument(std::string(name) + ": need a contiguous last axis");
  }
  if (rows.stride < rows.width) rows.stride = rows.width;
  return rows;
}

inline const float* vector_of(const FloatArray& array, std::int64_t width, const char* name) {
  const bool ok = array.ndim() == 1 && array.shape(0) == width &&
                  (width <= 1 || array.strides(0) == static_cast<std::int64_t>(sizeof(float)));
  if (!ok) {
    throw std::invalid_argument(std::string(name) + ": need " + std::to_string(width) +
                                " contiguous floats");
  }
  return array.data();
}

inline FloatArray new_array(std::vector<pybind11::ssize_t> shape) {
  return FloatArray(std::move(shape));
}

}  // namespace tokenfuse
