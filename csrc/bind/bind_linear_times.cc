// The time of a dense layer in several precisions, as a Python function.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bind/arrays.h"
#include "bind/bind.h"
#include "bind/isa_choice.h"
#include "bind/precision_name.h"
#include "engine/linear_times.h"

namespace py = pybind11;

namespace tokenfuse {
namespace {

std::vector<double> linear_times(const std::vector<std::string>& precisions, std::int64_t rows,
                                 std::int64_t num_in, std::int64_t num_out, const std::string& isa,
                                 double budget_seconds) {
  require(rows > 0 && num_out > 0 && num_in > 0 && num_in <= kInt8MaxK,
          "rows, num_in, num_out: need 1 or more, and inputs whose 8-bit sums fit 32 bits");
  std::vector<Precision> chosen;
  for (const std::string& name : precisions) chosen.push_back(precision_of(name));
  const Isa set = isa_or_throw(isa);
  py::gil_scoped_release release;
  return time_linears(chosen, {rows, num_in, num_out}, set, budget_seconds);
}

}  // namespace

void bind_linear_times(py::module_& module) {
  module.def("linear_times", &linear_times, py::arg("precisions"), py::kw_only(), py::arg("rows"),
             py::arg("num_in"), py::arg("num_out"), py::arg("isa") = "",
             py::arg("budget_seconds") = 0.0,
             "The least seconds of one call of a linear, for each precision.");
}

}  // namespace tokenfuse
