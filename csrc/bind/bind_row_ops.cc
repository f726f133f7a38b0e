// What works on each row alone, as functions on NumPy arrays: shapes are checked
// here once, the GIL is released around the work, and the kernels trust their contracts.
#include <pybind11/stl.h>

#include "bind/arrays.h"
#include "bind/bind.h"
#include "bind/isa_choice.h"
#include "kernels/gated_add/gated_add.h"
#include "kernels/gelu/gelu.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/log_sum_exp/log_sum_exp.h"
#include "kernels/rms_norm/rms_norm.h"

namespace py = pybind11;

namespace tokenfuse {
namespace {

FloatArray op_layer_norm(const FloatArray& x_MN, const FloatArray& weight_N,
                         const FloatArray& bias_N, float eps, const std::string& isa) {
  const LayerNormFn run = layer_norm_kernel(isa_or_throw(isa));
  const Rows x = rows_of(x_MN, "x");
  const float* weight = vector_of(weight_N, x.width, "weight");
  const float* bias = vector_of(bias_N, x.width, "bias");
  FloatArray y = new_array({x.count, x.width});
  float* to = y.mutable_data();
  py::gil_scoped_release release;
  run(x.data, x.stride, weight, bias, eps, to, x.width, x.count, x.width);
  return y;
}

py::tuple op_log_sum_exp(const FloatArray& x_MN, const std::string& isa) {
  const LogSumExpFn run = log_sum_exp_kernel(isa_or_throw(isa));
  const Rows x = rows_of(x_MN, "x");
  require(x.width >= 1 && x.width <= INT32_MAX, "x: need 1 to 2^31 - 1 columns");
  FloatArray y = new_array({x.count});
  py::array_t<std::int32_t> top(x.count);
  float* to = y.mutable_data();
  std::int32_t* tops = top.mutable_data();
  {
    py::gil_scoped_release release;
    run(x.data, x.stride, to, tops, x.count, x.width);
    for (std::int64_t i = 0; i < x.count; ++i) to[i] += x.data[i * x.stride + tops[i]];
  }
  return py::make_tuple(y, top);
}

FloatArray op_rms_norm(const FloatArray& x_MN, const FloatArray& weight_N, float eps,
                       const std::string& isa) {
  const RmsNormFn run = rms_norm_kernel(isa_or_throw(isa));
  const Rows x = rows_of(x_MN, "x");
  const float* weight = vector_of(weight_N, x.width, "weight");
  FloatArray y = new_array({x.count, x.width});
  float* to = y.mutable_data();
  py::gil_scoped_release release;
  run(x.data, x.stride, weight, eps, to, x.width, x.count, x.width);
  return y;
}

FloatArray op_gelu(const FloatArray& x_MN, const Optional& gated_MN, bool tanh_form,
                   const std::string& isa) {
  const GeluFn run = gelu_kernel(isa_or_throw(isa));
  const Rows x = rows_of(x_MN, "x");
  Rows z;
  if (gated_MN) {
    z = rows_of(*gated_MN, "gated");
    require(z.count == x.count && z.width == x.width, "gated: need the shape of x");
  }
  FloatArray y = new_array({x.count, x.width});
  float* to = y.mutable_data();
  py::gil_scoped_release release;
  run(tanh_form ? GeluForm::kTanh : GeluForm::kErf, x.data, x.stride, z.data, z.stride, to, x.width,
      x.count, x.width);
  return y;
}

FloatArray op_gated_add(float a, const FloatArray& x_N, float b, const FloatArray& z_N,
                        const std::string& isa) {
  const GatedAddFn run = gated_add_kernel(isa_or_throw(isa));
  require(x_N.ndim() == 1, "x: need 1 axis");
  const std::int64_t n = x_N.shape(0);
  const float* x = vector_of(x_N, n, "x");
  const float* z = vector_of(z_N, n, "z");
  FloatArray y = new_array({n});
  float* to = y.mutable_data();
  py::gil_scoped_release release;
  run(a, x, b, z, to, n);
  return y;
}

}  // namespace

void bind_row_ops(py::module_& module) {
  module.def("layer_norm", &op_layer_norm);
  module.def("rms_norm", &op_rms_norm);
  module.def("log_sum_exp", &op_log_sum_exp);
  module.def("gelu", &op_gelu);
  module.def("gated_add", &op_gated_add);
}

}  // namespace tokenfuse
