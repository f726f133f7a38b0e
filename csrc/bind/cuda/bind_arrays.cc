// OwnedArray in Python: both protocols by which others take it, and the way to the host and back.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>
#include <stdexcept>

#include "bind/cuda/bind_cuda.h"
#include "bind/cuda/dlpack.h"
#include "bind/cuda/owned_array.h"
#include "core/cuda/half_rows.h"

namespace py = pybind11;

namespace tokenfuse::cuda {
namespace {

py::dict interface_of(const OwnedArray& array) {
  if (array.dtype() == Dtype::kBf16) {
    throw py::attribute_error("__cuda_array_interface__ has no bfloat16; use __dlpack__");
  }
  const auto stream = reinterpret_cast<std::intptr_t>(array.stream());
  py::dict shown;
  shown["shape"] = py::tuple(py::cast(array.shape()));
  shown["typestr"] = array.dtype() == Dtype::kHalf    ? "<f2"
                     : array.dtype() == Dtype::kFloat ? "<f4"
                                                      : "<i4";
  shown["data"] = py::make_tuple(reinterpret_cast<std::uintptr_t>(array.data()), false);
  shown["strides"] = py::none();
  shown["stream"] = stream == 0 ? 1 : stream;
  shown["version"] = 3;
  return shown;
}

// What a capsule leads to; deleted by whoever took it, on any thread, with the GIL or without.
template <typename Managed>
struct Shown {
  Managed managed{};
  Extents shape, strides;
  std::shared_ptr<StreamBuffer> memory;
};

dlpack::DataType dlpack_type_of(Dtype dtype) {
  if (dtype == Dtype::kBf16) return {dlpack::kBfloat, 16, 1};
  if (dtype == Dtype::kInt) return {dlpack::kInt, 32, 1};
  return {dlpack::kFloat, static_cast<std::uint8_t>(8 * item_bytes(dtype)), 1};
}

template <typename Managed>
py::object capsule_of(const OwnedArray& array, const char* name) {
  auto* shown =
      new Shown<Managed>{{}, array.shape(), contiguous_strides(array.shape()), array.memory()};
  dlpack::Tensor& tensor = shown->managed.tensor;
  tensor.data = array.data();
  tensor.device = {dlpack::kCuda, 0};
  tensor.ndim = static_cast<std::int32_t>(shown->shape.size());
  tensor.dtype = dlpack_type_of(array.dtype());
  tensor.shape = shown->shape.data();
  tensor.strides = shown->strides.data();
  shown->managed.context = shown;
  shown->managed.deleter = [](Managed* managed) {
    delete static_cast<Shown<Managed>*>(managed->context);
  };
  // A capsule that nobody took keeps its name.
  return py::reinterpret_steal<py::object>(
      PyCapsule_New(&shown->managed, name, [](PyObject* capsule) {
        const char* own = PyCapsule_GetName(capsule);
        if (std::strncmp(own, "used", 4) == 0) return;
        auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, own));
        managed->deleter(managed);
      }));
}

py::object dlpack_of(const OwnedArray& array, const std::optional<std::intptr_t>& stream,
                     const std::optional<std::pair<int, int>>& max_version,
                     const std::optional<std::pair<int, int>>& dl_device,
                     const std::optional<bool>& copy) {
  if (copy.value_or(false) ||
      dl_device.value_or(std::make_pair(dlpack::kCuda, 0)) != std::make_pair(dlpack::kCuda, 0)) {
    throw py::buffer_error("shown where it lies, on CUDA device 0, and not as a copy");
  }
  // None is the default stream, 1 too; -1: the consumer takes care of the order itself.
  const std::intptr_t number = stream.value_or(1);
  if (number == 0 || number < -1) {
    throw py::value_error("stream=" + std::to_string(number) + ": need 1, 2, a cudaStream_t or -1");
  }
  void* consumer = number == 1 ? nullptr : reinterpret_cast<void*>(number);
  if (number != -1 && consumer != array.stream()) wait_for(Stream(consumer), array.stream());
  if (max_version && max_version->first >= 1) {
    py::object capsule = capsule_of<dlpack::ManagedVersioned>(array, dlpack::kVersionedName);
    auto* managed = static_cast<dlpack::ManagedVersioned*>(
        PyCapsule_GetPointer(capsule.ptr(), dlpack::kVersionedName));
    managed->major = 1;
    return capsule;
  }
  return capsule_of<dlpack::Managed>(array, dlpack::kName);
}

// float32 for all but int32: NumPy has no bfloat16.
py::array to_host(const OwnedArray& array) {
  const Extents& shape = array.shape();
  const std::int64_t count = count_of(shape);
  py::array result = array.dtype() == Dtype::kInt ? py::array(py::array_t<std::int32_t>(shape))
                                                  : py::array(py::array_t<float>(shape));
  void* to = result.mutable_data();
  py::gil_scoped_release release;
  Stream stream(array.stream());
  PinnedBuffer staging(static_cast<std::size_t>(array.bytes()));
  stream.copy_to_host(staging.data(), array.data(), staging.bytes());
  stream.wait();
  if (is_half(array.dtype())) {
    rows_to_floats(type_of(array.dtype()), staging.data(), {1, count, count},
                   static_cast<float*>(to));
  } else if (count > 0) {
    std::memcpy(to, staging.data(), staging.bytes());
  }
  return result;
}

std::unique_ptr<OwnedArray> to_device(const py::array& array, const std::string& precision,
                                      std::intptr_t stream_number) {
  const bool ints = py::isinstance<py::array_t<std::int32_t>>(array);
  if (!ints && !py::isinstance<py::array_t<float>>(array)) {
    throw std::invalid_argument("array is " + std::string(py::str(array.dtype())) +
                                "; need float32 or int32");
  }
  const Dtype dtype = ints ? Dtype::kInt : dtype_of_precision(precision);
  const auto whole = py::array::ensure(array, py::array::c_style);
  Stream stream(stream_handle(stream_number));
  const Extents shape(whole.shape(), whole.shape() + whole.ndim());
  const std::int64_t count = count_of(shape);
  const void* from = whole.data();
  py::gil_scoped_release release;
  auto owned = std::make_unique<OwnedArray>(dtype, shape, stream);
  PinnedBuffer staging(static_cast<std::size_t>(owned->bytes()));
  if (is_half(dtype)) {
    rows_to_halves(type_of(dtype), static_cast<const float*>(from), {1, count, count},
                   staging.data());
  } else if (count > 0) {
    std::memcpy(staging.data(), from, staging.bytes());
  }
  stream.copy_to_device(owned->data(), staging.data(), staging.bytes());
  // The staging goes with this call.
  stream.wait();
  return owned;
}

}  // namespace

void bind_arrays(py::module_& module) {
  py::class_<OwnedArray>(module, "DeviceArray", "An array on the GPU; torch.from_dlpack takes it.")
      .def_property_readonly("shape",
                             [](const OwnedArray& a) { return py::tuple(py::cast(a.shape())); })
      .def_property_readonly("dtype", [](const OwnedArray& a) { return dtype_name(a.dtype()); })
      .def_property_readonly("__cuda_array_interface__", &interface_of)
      .def("__dlpack__", &dlpack_of, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none())
      .def("__dlpack_device__", [](const OwnedArray&) { return py::make_tuple(dlpack::kCuda, 0); })
      .def("to_host", &to_host, "A NumPy array, float32 or int32; waits for its stream.")
      .def("__repr__", [](const OwnedArray& a) {
        return "<DeviceArray " + std::string(dtype_name(a.dtype())) + " " + described(a.shape()) +
               ">";
      });
  module.def("to_device", &to_device, py::arg("array"), py::arg("precision"), py::kw_only(),
             py::arg("stream") = 0);
}

}  // namespace tokenfuse::cuda
