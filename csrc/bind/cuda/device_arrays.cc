#include "bind/cuda/device_arrays.h"

#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>

#include "bind/cuda/dlpack.h"
#include "core/cuda/stream_order.h"

namespace py = pybind11;

namespace tokenfuse::cuda {

const char* dtype_name(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::kHalf:
      return "float16";
    case Dtype::kBf16:
      return "bfloat16";
    case Dtype::kFloat:
      return "float32";
    case Dtype::kInt:
      break;
  }
  return "int32";
}

Dtype dtype_of_precision(const std::string& precision, const char* option) {
  if (precision == "fp16") return Dtype::kHalf;
  if (precision == "bf16") return Dtype::kBf16;
  if (precision == "fp32") return Dtype::kFloat;
  throw std::invalid_argument(option + (" '" + precision) + "'; need fp16, bf16 or fp32");
}

std::string described(const Extents& extents) {
  std::string text = "[";
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(extents[i]);
  }
  text += "]";
  return text;
}

Extents contiguous_strides(const Extents& shape) {
  Extents strides(shape.size());
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0; stride *= shape[i]) strides[i] = stride;
  return strides;
}

std::int64_t count_of(const Extents& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

void* stream_handle(std::intptr_t number) {
  if (number < 0) {
    throw std::invalid_argument("stream=" + std::to_string(number) +
                                "; need a cudaStream_t as a number, or 0 for the default stream");
  }
  return reinterpret_cast<void*>(number);
}

bool is_device_array(py::handle array) {
  return py::hasattr(array, "__dlpack__") || py::hasattr(array, "__cuda_array_interface__");
}

namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  throw std::invalid_argument(name + " " + what);
}

[[noreturn]] void refuse_dtype(const std::string& name, const std::string& given) {
  refuse(name, "is " + given + "; need float16, bfloat16, float32 or int32");
}

Dtype dtype_of(const dlpack::DataType& type, const std::string& name) {
  if (type.lanes == 1) {
    if (type.code == dlpack::kFloat && type.bits == 16) return Dtype::kHalf;
    if (type.code == dlpack::kBfloat && type.bits == 16) return Dtype::kBf16;
    if (type.code == dlpack::kFloat && type.bits == 32) return Dtype::kFloat;
    if (type.code == dlpack::kInt && type.bits == 32) return Dtype::kInt;
  }
  refuse_dtype(name, "of DLPack type code " + std::to_string(type.code) + ", " +
                         std::to_string(type.bits) + " bits");
}

// Our own: the producer's deleter once nobody needs the memory.
template <typename Managed>
py::object keeper_of(Managed* managed) {
  return py::reinterpret_steal<py::object>(PyCapsule_New(managed, nullptr, [](PyObject* capsule) {
    auto* kept = static_cast<Managed*>(PyCapsule_GetPointer(capsule, nullptr));
    if (kept->deleter != nullptr) kept->deleter(kept);
  }));
}

DeviceView view_of_tensor(const dlpack::Tensor& tensor, bool read_only, py::object keeper,
                          const std::string& name) {
  DeviceView view{static_cast<char*>(tensor.data) + tensor.byte_offset,
                  dtype_of(tensor.dtype, name),
                  read_only,
                  Extents(tensor.shape, tensor.shape + tensor.ndim),
                  {},
                  std::move(keeper)};
  view.strides = tensor.strides == nullptr ? contiguous_strides(view.shape)
                                           : Extents(tensor.strides, tensor.strides + tensor.ndim);
  return view;
}

// Taken: from here on it is ours to delete.
template <typename Managed>
Managed* take(const py::object& capsule, const char* name, const char* used_name) {
  void* managed = PyCapsule_GetPointer(capsule.ptr(), name);
  if (managed == nullptr || PyCapsule_SetName(capsule.ptr(), used_name) != 0) {
    throw py::error_already_set();
  }
  return static_cast<Managed*>(managed);
}

DeviceView view_of_capsule(const py::object& capsule, const std::string& name) {
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::kVersionedName) != 0) {
    auto* managed =
        take<dlpack::ManagedVersioned>(capsule, dlpack::kVersionedName, dlpack::kUsedVersionedName);
    py::object keeper = keeper_of(managed);
    // A major version may change all but the fields up to the flags.
    if (managed->major > 1) {
      refuse(name, "shows DLPack " + std::to_string(managed->major) + "; need 0.x or 1.x");
    }
    return view_of_tensor(managed->tensor, (managed->flags & dlpack::kReadOnly) != 0,
                          std::move(keeper), name);
  }
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::kName) != 0) {
    auto* managed = take<dlpack::Managed>(capsule, dlpack::kName, dlpack::kUsedName);
    py::object keeper = keeper_of(managed);
    return view_of_tensor(managed->tensor, false, std::move(keeper), name);
  }
  refuse(name, "shows no capsule of DLPack that was not used yet");
}

// The protocol calls the default stream 1.
std::intptr_t number_of(const Stream& stream) {
  const auto number = reinterpret_cast<std::intptr_t>(stream.handle());
  return number == 0 ? 1 : number;
}

DeviceView view_by_dlpack(const py::object& array, const std::string& name, const Stream& stream) {
  const auto device = py::cast<std::pair<int, int>>(array.attr("__dlpack_device__")());
  if (device.first != dlpack::kCuda && device.first != dlpack::kCudaManaged) {
    refuse(name, std::string("lies on ") +
                     (device.first == dlpack::kHost
                          ? "the host"
                          : "a device of DLPack type " + std::to_string(device.first)) +
                     "; need arrays on the CUDA device, or NumPy arrays for all of them");
  }
  if (device.second != 0) {
    refuse(name, "lies on CUDA device " + std::to_string(device.second) +
                     "; need device 0 (CUDA_VISIBLE_DEVICES chooses which one that is)");
  }
  const py::object show = array.attr("__dlpack__");
  const py::int_ number(number_of(stream));
  try {
    try {
      return view_of_capsule(
          show(py::arg("stream") = number, py::arg("max_version") = py::make_tuple(1, 0)), name);
    } catch (const py::error_already_set& error) {
      // From before DLPack 1.0.
      if (!error.matches(PyExc_TypeError)) throw;
    }
    return view_of_capsule(show(py::arg("stream") = number), name);
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_BufferError)) throw;
    refuse(name, "does not show its memory: " + std::string(py::str(error.value())));
  }
}

Dtype dtype_of(const std::string& typestr, const std::string& name) {
  if (typestr == "<f2") return Dtype::kHalf;
  if (typestr == "<f4") return Dtype::kFloat;
  if (typestr == "<i4") return Dtype::kInt;
  refuse_dtype(name, "'" + typestr + "' in __cuda_array_interface__");
}

DeviceView view_by_interface(const py::object& array, const std::string& name,
                             const Stream& stream) {
  const py::dict shown = array.attr("__cuda_array_interface__");
  const auto given = [&](const char* key) -> py::object {
    return shown.contains(key) ? py::object(shown[key]) : py::none();
  };
  for (const char* key : {"shape", "typestr", "data", "version"}) {
    if (!shown.contains(key))
      refuse(name, "has a __cuda_array_interface__ without " + std::string(key));
  }
  if (!given("mask").is_none()) refuse(name, "has a mask; need an array without one");
  const auto data = py::cast<std::pair<std::uintptr_t, bool>>(given("data"));
  DeviceView view{reinterpret_cast<char*>(data.first),
                  dtype_of(py::cast<std::string>(given("typestr")), name),
                  data.second,
                  py::cast<Extents>(given("shape")),
                  {},
                  array};
  view.strides = contiguous_strides(view.shape);
  if (!given("strides").is_none()) {
    view.strides = py::cast<Extents>(given("strides"));
    if (view.strides.size() != view.shape.size()) refuse(name, "has not a stride for each axis");
    for (std::int64_t& stride : view.strides) {
      if (stride % item_bytes(view.dtype) != 0) refuse(name, "has elements that are not aligned");
      stride /= item_bytes(view.dtype);
    }
  }
  const py::object producer = given("stream");
  if (!producer.is_none()) {
    const auto number = py::cast<std::intptr_t>(producer);
    if (number != number_of(stream)) wait_for(stream, reinterpret_cast<void*>(number));
  }
  return view;
}

}  // namespace

DeviceView view_of(const py::object& array, const std::string& name, const Stream& stream) {
  // DLPack first: it knows bfloat16.
  return py::hasattr(array, "__dlpack__") ? view_by_dlpack(array, name, stream)
                                          : view_by_interface(array, name, stream);
}

}  // namespace tokenfuse::cuda
