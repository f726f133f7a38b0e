// What the parts of the Python module register; nothing outside this folder knows Python.
#pragma once

#include <pybind11/pybind11.h>

namespace tokenfuse {

void bind_isa(pybind11::module_& module);
void bind_linear_ops(pybind11::module_& module);
void bind_row_ops(pybind11::module_& module);
void bind_attention_ops(pybind11::module_& module);
void bind_engine(pybind11::module_& module);
void bind_linear_times(pybind11::module_& module);

}  // namespace tokenfuse
