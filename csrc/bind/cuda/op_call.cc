#include "bind/cuda/op_call.h"

#include <memory>
#include <stdexcept>

#include "bind/cuda/owned_array.h"

namespace py = pybind11;

namespace tokenfuse::cuda {

namespace {

bool is_numpy(const py::object& array) { return py::isinstance<py::array>(array); }

bool all_on_device(std::initializer_list<py::object> arrays) {
  bool host = false, device = false;
  for (const py::object& array : arrays) {
    if (array.is_none()) continue;
    if (!is_numpy(array) && !is_device_array(array)) {
      throw std::invalid_argument(
          "an array is " + std::string(py::str(py::type::of(array).attr("__name__"))) +
          "; need NumPy arrays, or device arrays with __dlpack__ or __cuda_array_interface__");
    }
    (is_numpy(array) ? host : device) = true;
  }
  need_that(!host || !device,
            "NumPy arrays and device arrays are mixed; pass all of one kind (to_device copies)");
  return device;
}

std::string names_of(std::initializer_list<Dtype> dtypes) {
  std::string text;
  for (const Dtype dtype : dtypes) {
    text += (text.empty() ? "" : " or ") + std::string(dtype_name(dtype));
  }
  return text;
}

bool contains(std::initializer_list<Dtype> dtypes, Dtype dtype) {
  for (const Dtype one : dtypes) {
    if (one == dtype) return true;
  }
  return false;
}

}  // namespace

OpCall::OpCall(std::initializer_list<py::object> arrays,
               const std::optional<std::string>& precision, std::intptr_t stream)
    : on_device_(all_on_device(arrays)), stream_(stream_handle(stream)) {
  if (on_device_) {
    need_that(!precision,
              "precision is what NumPy arrays are rounded to; device arrays have a "
              "dtype of their own: leave it out");
    return;
  }
  half_ = dtype_of_precision(precision.value_or("fp16"));
  need_that(is_half(*half_), "precision 'fp32'; NumPy arrays are rounded to fp16 or bf16");
}

Type OpCall::type() const { return type_of(half_.value_or(Dtype::kHalf)); }

const Operand* OpCall::halves(const char* name, const py::object& array, const Need& need) {
  return add(name, array, need, {Dtype::kHalf, Dtype::kBf16});
}

const Operand* OpCall::floats(const char* name, const py::object& array, const Need& need) {
  return add(name, array, need, {Dtype::kFloat});
}

const Operand* OpCall::either(const char* name, const py::object& array, const Need& need) {
  return add(name, array, need, {Dtype::kFloat, Dtype::kHalf, Dtype::kBf16});
}

const Operand* OpCall::ints(const char* name, const py::object& array, const Need& need) {
  return add(name, array, need, {Dtype::kInt});
}

const Operand* OpCall::add(const char* name, const py::object& array, const Need& need,
                           std::initializer_list<Dtype> allowed) {
  if (array.is_none()) return nullptr;
  Operand& operand = inputs_.emplace_back();
  operand.name = name;
  if (!on_device_) {
    add_host(operand, array, need, allowed);
    return &operand;
  }
  const DeviceView view = view_of(array, name, stream_);
  keepers_.push_back(view.keeper);
  need_that(contains(allowed, view.dtype),
            std::string(name) + " is " + dtype_name(view.dtype) + "; need " + names_of(allowed));
  if (is_half(view.dtype)) {
    need_that(!half_ || *half_ == view.dtype, std::string(name) + " is " + dtype_name(view.dtype) +
                                                  ", " + half_name_ +
                                                  " is not; need one 16-bit dtype for all");
    half_ = view.dtype;
    half_name_ = name;
  }
  use_view(operand, view, need);
  return &operand;
}

void OpCall::add_host(Operand& operand, const py::object& array, const Need& need,
                      std::initializer_list<Dtype> allowed) {
  const bool ints = contains(allowed, Dtype::kInt);
  const auto given = py::reinterpret_borrow<py::array>(array);
  const bool fits = ints ? py::isinstance<py::array_t<std::int32_t>>(given)
                         : py::isinstance<py::array_t<float>>(given);
  need_that(fits, std::string(operand.name) + " is " + std::string(py::str(given.dtype())) +
                      "; need a " + (ints ? "int32" : "float32") + " array " + named(need));
  operand.array = py::array::ensure(given, py::array::c_style);
  operand.host = const_cast<void*>(operand.array.data());
  operand.dtype = contains(allowed, Dtype::kFloat) ? Dtype::kFloat : ints ? Dtype::kInt : *half_;
  const Extents shape(given.shape(), given.shape() + given.ndim());
  set_shape(operand, shape, need);
  Need layout = need;
  layout.vectors = need.vectors && is_half(operand.dtype);
  lay_out(operand, layout);
}

Dtype OpCall::result_dtype(const py::object& out, const std::optional<std::string>& result,
                           Dtype usual) const {
  need_that(on_device_ || (out.is_none() && !result),
            "out and result are of device arrays; NumPy arrays give new float32 arrays");
  if (!out.is_none()) {
    need_that(!result, "out has a dtype of its own: leave result out");
    const Dtype dtype = view_of(out, "out", stream_).dtype;
    need_that(dtype != Dtype::kInt, "out is int32; need float32, float16 or bfloat16");
    return dtype;
  }
  return result ? dtype_of_precision(*result, "result") : usual;
}

const Operand* OpCall::result(Dtype dtype, const Extents& shape, const py::object& out,
                              const Need& need, bool is_single) {
  const Extents seen(shape.begin() + (is_single ? 1 : 0), shape.end());
  Operand& operand = results_.emplace_back();
  operand.name = "out";
  operand.dtype = dtype;
  operand.shape = shape;
  if (!on_device_) {
    need_that(out.is_none(), "out is of device arrays; NumPy arrays give new float32 arrays");
    lay_out(operand, need);
    operand.array = dtype == Dtype::kInt ? py::array(py::array_t<std::int32_t>(seen))
                                         : py::array(py::array_t<float>(seen));
    operand.host = operand.array.mutable_data();
    return &operand;
  }
  if (out.is_none()) {
    auto owned = std::make_unique<OwnedArray>(dtype, seen, stream_);
    operand.data = owned->data();
    operand.width = shape.back();
    operand.strides = contiguous_strides(shape);
    operand.owner = py::cast(std::move(owned));
    return &operand;
  }
  const DeviceView view = view_of(out, "out", stream_);
  keepers_.push_back(view.keeper);
  need_that(!view.read_only, "out is read-only; need an array that can be written");
  need_that(view.dtype == dtype,
            std::string("out is ") + dtype_name(view.dtype) + "; need " + dtype_name(dtype));
  use_view(operand, view, need);
  need_that(view.shape == seen,
            "out has shape " + described(view.shape) + "; need " + described(seen));
  check_places(operand, view);
  operand.owner = out;
  return &operand;
}

void OpCall::run(bool empty, const std::function<void(Stream&)>& launch) {
  if (empty) return;
  py::gil_scoped_release release;
  if (on_device_) return launch(stream_);
  stage(launch);
}

void OpCall::stage(const std::function<void(Stream&)>& launch) {
  std::size_t bytes = 0;
  for (Operand& operand : inputs_) {
    operand.offset = bytes;
    bytes += staged_bytes(operand);
  }
  const std::size_t given = bytes;
  for (Operand& operand : results_) {
    operand.offset = bytes;
    bytes += staged_bytes(operand);
  }
  PinnedBuffer host(bytes);
  const DeviceBuffer device(bytes);
  const auto at = [&](const Operand& operand) {
    return static_cast<char*>(host.data()) + operand.offset;
  };
  for (Operand& operand : inputs_) {
    operand.data = static_cast<char*>(device.data()) + operand.offset;
    stage_in(operand, at(operand));
  }
  for (Operand& operand : results_) {
    operand.data = static_cast<char*>(device.data()) + operand.offset;
  }
  stream_.copy_to_device(device.data(), host.data(), given);
  try {
    launch(stream_);
  } catch (...) {
    // The copy reads what goes with this call.
    stream_.wait();
    throw;
  }
  stream_.copy_to_host(static_cast<char*>(host.data()) + given,
                       static_cast<char*>(device.data()) + given, bytes - given);
  stream_.wait();
  for (Operand& operand : results_) stage_out(operand, at(operand));
}

py::object OpCall::taken(const Operand* result) const {
  if (result == nullptr) return py::none();
  return on_device_ ? result->owner : py::object(result->array);
}

int OpCall::extent(const Operand& operand, std::size_t axis, std::int64_t most) {
  const std::int64_t extent = operand.extent(axis);
  need_that(extent >= 1 && extent <= most,
            std::string(operand.name) + " has shape " + described(operand.shape) + "; need 1 to " +
                std::to_string(most) + " at axis " + std::to_string(axis));
  return static_cast<int>(extent);
}

const DeviceInfo& OpCall::device() {
  // Asking takes longer than an op.
  static const DeviceInfo info = device_info(0);
  return info;
}

}  // namespace tokenfuse::cuda
