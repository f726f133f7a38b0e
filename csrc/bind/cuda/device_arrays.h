// Arrays of other libraries where they lie on the device: by DLPack or __cuda_array_interface__,
// without a copy.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/cuda/runtime.h"
#include "core/cuda/types.h"

namespace tokenfuse::cuda {

enum class Dtype { kHalf, kBf16, kFloat, kInt };

constexpr std::int64_t item_bytes(Dtype dtype) noexcept {
  return dtype == Dtype::kHalf || dtype == Dtype::kBf16 ? 2 : 4;
}
// "float16", "bfloat16", "float32", "int32".
const char* dtype_name(Dtype dtype) noexcept;
constexpr bool is_half(Dtype dtype) noexcept { return item_bytes(dtype) == 2; }
constexpr Dtype dtype_of(Type type) noexcept {
  return type == Type::kHalf ? Dtype::kHalf : Dtype::kBf16;
}
// Of one that is_half.
constexpr Type type_of(Dtype dtype) noexcept {
  return dtype == Dtype::kBf16 ? Type::kBf16 : Type::kHalf;
}
// "fp16", "bf16" or "fp32"; `option` is what the caller calls it. Throws std::invalid_argument.
Dtype dtype_of_precision(const std::string& precision, const char* option = "precision");

using Extents = std::vector<std::int64_t>;

// "[2, 3]"
std::string described(const Extents& extents);
Extents contiguous_strides(const Extents& shape);
std::int64_t count_of(const Extents& shape);

struct DeviceView {
  char* data;
  Dtype dtype;
  bool read_only;
  Extents shape, strides;   // strides in elements
  pybind11::object keeper;  // while it lives the memory does
};

// The cudaStream_t that a user gave as a number. Throws std::invalid_argument.
void* stream_handle(std::intptr_t number);

bool is_device_array(pybind11::handle array);

// The memory of an array that `is_device_array`; what its owner asked of the device so far comes
// before what `stream` is asked from now on. Throws std::invalid_argument, which calls it `name`.
DeviceView view_of(const pybind11::object& array, const std::string& name, const Stream& stream);

}  // namespace tokenfuse::cuda
