// Errors of CUDA as Python exceptions, and what the device is.
#include <pybind11/pybind11.h>

#include "bind/cuda/bind_cuda.h"
#include "core/cuda/runtime.h"

namespace py = pybind11;

namespace tokenfuse::cuda {

void bind_device(py::module_& module) {
  auto error = py::register_exception<CudaError>(module, "CudaError", PyExc_RuntimeError);
  // Registered later, so asked first: it is a CudaError too.
  py::register_exception<OutOfMemory>(module, "OutOfMemory", error);
  module.def("device_count", &device_count, "0 where there is no driver or no device.");
  module.def(
      "has_code",
      [] {
        const CurrentDevice current(0);
        return has_code();
      },
      "Whether this build runs on the device.");
  module.def("device_info", [] {
    const DeviceInfo info = device_info(0);
    py::dict facts;
    facts["name"] = info.name;
    facts["compute_capability"] = info.compute_capability;
    facts["num_multiprocessors"] = info.num_multiprocessors;
    facts["shared_bytes_per_block"] = info.shared_bytes_per_block;
    facts["memory_bytes"] = info.memory_bytes;
    return facts;
  });
}

}  // namespace tokenfuse::cuda
