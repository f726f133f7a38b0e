// What the parts of the Python module `_cuda` register.
#pragma once

#include <pybind11/pybind11.h>

namespace tokenfuse::cuda {

void bind_arrays(pybind11::module_& module);
void bind_attention_ops(pybind11::module_& module);
void bind_device(pybind11::module_& module);
void bind_engine(pybind11::module_& module);
void bind_ops(pybind11::module_& module);

}  // namespace tokenfuse::cuda
