// The arrays of an op's call: what is needed of each, and how it lies on the device.
#pragma once

#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "bind/cuda/device_arrays.h"

namespace tokenfuse::cuda {

// Throws std::invalid_argument.
void need_that(bool condition, const std::string& what);

// What an op needs of an array.
struct Need {
  const char* axes;         // a letter each, for messages; an axis B that comes first may lack
  std::size_t own_strides;  // so many of the first axes may have any stride; the others fold
  bool vectors;             // 16 bytes are read at once: addresses, strides and rows are whole ones
};

struct Operand {
  const char* name;
  Dtype dtype;
  Extents shape;
  Extents strides;         // in elements, on the device
  bool is_single = false;  // the caller's has no axis for the batch
  std::int64_t width = 0;  // of the last axis on the device: NumPy's is padded to whole vectors
  char* data = nullptr;    // on the device; NumPy's: while it runs

  template <typename T>
  T* as() const noexcept {
    return reinterpret_cast<T*>(data);
  }
  std::int64_t extent(std::size_t axis) const noexcept { return shape[axis]; }
  std::int64_t stride(std::size_t axis) const noexcept { return strides[axis]; }

  // Where it is NumPy's: the array, its memory, and where it is staged.
  pybind11::array array;
  void* host = nullptr;
  std::size_t offset = 0;
  // Of a result on the device: what the caller gets.
  pybind11::object owner;
};

// "(M, K)".
std::string named(const Need& need);

// The caller's shape, with an axis for the batch where it lacks.
void set_shape(Operand& operand, const Extents& given, const Need& need);

// Strides of an array that is staged, its rows padded.
void lay_out(Operand& operand, const Need& need);

// The memory and the strides of an array on the device, where they are what is needed.
void use_view(Operand& operand, const DeviceView& view, const Need& need);
// And of one that is written, where no two elements share a place.
void check_places(const Operand& operand, const DeviceView& view);

// Of NumPy's: bytes on the way to the device and back, whole lines of memory; and the way.
std::size_t staged_bytes(const Operand& operand);
void stage_in(const Operand& operand, void* to);
void stage_out(const Operand& operand, const void* from);

}  // namespace tokenfuse::cuda
