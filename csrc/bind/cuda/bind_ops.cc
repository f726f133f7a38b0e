// The ops that work on rows, in Python: what each needs of its arrays, and its kernel's arguments.
#include <pybind11/stl.h>

#include <algorithm>

#include "bind/activation_name.h"
#include "bind/cuda/bind_cuda.h"
#include "bind/cuda/op_call.h"
#include "kernels/conv2d/cuda.h"
#include "kernels/layer_norm/cuda.h"
#include "kernels/linear/cuda.h"
#include "kernels/log_sum_exp/cuda.h"

namespace py = pybind11;

namespace tokenfuse::cuda {
namespace {

using Precision = std::optional<std::string>;

constexpr Need kVector{"N", 0, false};
constexpr Need kRows{"MN", 1, false};

NormKind norm_of(const std::string& name) {
  if (name == "none") return NormKind::kNone;
  if (name == "layer") return NormKind::kLayer;
  if (name == "rms") return NormKind::kRms;
  throw std::invalid_argument("norm='" + name + "': choose one of none, layer, rms");
}

template <typename T>
T* data_of(const Operand* operand) {
  return operand == nullptr ? nullptr : operand->as<T>();
}

// A vector for the columns, or null.
const Operand* columns_of(OpCall& call, const char* name, const py::object& array,
                          std::int64_t columns) {
  const Operand* vector = call.floats(name, array, kVector);
  need_that(vector == nullptr || vector->extent(0) == columns,
            std::string(name) +
                (vector == nullptr ? "" : " has " + std::to_string(vector->extent(0))) +
                " elements; need " + std::to_string(columns));
  return vector;
}

const Operand* like_result(OpCall& call, const char* name, const py::object& array,
                           const Extents& shape) {
  const Operand* rows = call.floats(name, array, kRows);
  need_that(rows == nullptr || rows->shape == shape,
            std::string(name) + (rows == nullptr ? "" : " has shape " + described(rows->shape)) +
                "; need " + described(shape));
  return rows;
}

py::object op_linear(const py::object& x_MK, const py::object& weight_NK, const py::object& bias_N,
                     const py::object& residual, const std::string& activation, bool gated,
                     const std::string& norm, const py::object& norm_weight,
                     const py::object& norm_bias, float eps, const py::object& original,
                     float scale, float original_scale, const py::object& out,
                     const Precision& result, const Precision& precision, std::intptr_t stream) {
  LinearArgs args{};
  args.activation = activation_of(activation);
  args.norm = norm_of(norm);
  OpCall call({x_MK, weight_NK, bias_N, residual, norm_weight, norm_bias, original, out}, precision,
              stream);
  constexpr Need kX{"MK", 1, true}, kWeight{"NK", 1, true};
  const Operand* w = call.halves("weight", weight_NK, kWeight);
  const bool normed = args.norm != NormKind::kNone;
  // Floats are rounded by the kernel as well, but NumPy's half as large are copied half as long.
  const Operand* x = normed             ? call.floats("x", x_MK, kX)
                     : call.on_device() ? call.either("x", x_MK, kX)
                                        : call.halves("x", x_MK, kX);
  need_that(x != nullptr && w != nullptr, "x or weight is None; need both");
  args.m = static_cast<int>(x->extent(0));
  args.n = OpCall::extent(*w, 0);
  args.k = OpCall::extent(*w, 1);
  need_that(x->extent(1) == args.k, "K must be the same: x has " + std::to_string(x->extent(1)) +
                                        ", weight has " + std::to_string(args.k));
  args.gated = gated;
  need_that(!gated || args.n % 2 == 0,
            "weight has " + std::to_string(args.n) + " rows; gated needs pairs of gate and up");
  need_that(!gated || bias_N.is_none(), "bias: a gated linear has none");
  const std::int64_t columns = gated ? args.n / 2 : args.n;
  const Extents shape{args.m, columns};
  const Operand* b = columns_of(call, "bias", bias_N, columns);
  const Operand* nw = columns_of(call, "norm_weight", norm_weight, args.k);
  const Operand* nb = columns_of(call, "norm_bias", norm_bias, args.k);
  need_that((nw != nullptr) == normed, "norm_weight goes with norm='layer' or 'rms'");
  need_that((nb != nullptr) == (args.norm == NormKind::kLayer), "norm_bias goes with norm='layer'");
  const Operand* r = like_result(call, "residual", residual, shape);
  const Operand* z = like_result(call, "original", original, shape);
  const Dtype usual = call.on_device() ? w->dtype : Dtype::kFloat;
  const Dtype dtype = call.result_dtype(out, result, usual);
  need_that(!is_half(dtype) || dtype == w->dtype, std::string("a result of ") + dtype_name(dtype) +
                                                      "; need float32 or " + dtype_name(w->dtype));
  const Operand* y = call.result(dtype, shape, out, kRows);
  call.run(args.m == 0, [&](Stream& at) {
    args.type = call.type();
    (x->dtype == Dtype::kFloat ? static_cast<void>(args.x32 = x->as<float>())
                               : static_cast<void>(args.x16 = x->data));
    args.ldx = x->stride(0);
    args.norm_weight = data_of<float>(nw);
    args.norm_bias = data_of<float>(nb);
    args.norm_eps = eps;
    args.w = w->data;
    args.ldw = w->stride(0);
    args.bias = data_of<float>(b);
    args.residual = data_of<float>(r);
    args.ldr = r == nullptr ? 0 : r->stride(0);
    args.original = data_of<float>(z);
    args.ldo = z == nullptr ? 0 : z->stride(0);
    args.scale = scale;
    args.original_scale = original_scale;
    (y->dtype == Dtype::kFloat ? static_cast<void>(args.y32 = y->as<float>())
                               : static_cast<void>(args.y16 = y->data));
    args.ldy = y->stride(0);
    linear(at, OpCall::device(), args);
  });
  return call.taken(y);
}

// `bias` None: an RMS norm, if `has_bias` says that there is none.
py::object norm_rows(const py::object& x_MN, const py::object& weight_N, const py::object& bias_N,
                     bool has_bias, float eps, const py::object& out, const Precision& result,
                     std::intptr_t stream) {
  OpCall call({x_MN, weight_N, bias_N, out}, {}, stream);
  const Operand* x = call.floats("x", x_MN, kRows);
  need_that(x != nullptr, "x is None; need an array");
  const Operand* w = columns_of(call, "weight", weight_N, x->extent(1));
  const Operand* b = columns_of(call, "bias", bias_N, x->extent(1));
  need_that(w != nullptr && (b != nullptr) == has_bias, "weight or bias is None; need an array");
  const Dtype dtype = call.result_dtype(out, result, Dtype::kFloat);
  const Operand* y = call.result(dtype, x->shape, out, kRows);
  NormArgs args{};
  args.m = static_cast<int>(x->extent(0));
  args.n = static_cast<int>(x->extent(1));
  args.eps = eps;
  call.run(args.m == 0 || args.n == 0, [&](Stream& at) {
    args.x = x->as<float>();
    args.ldx = x->stride(0);
    args.weight = w->as<float>();
    args.bias = data_of<float>(b);
    args.type = type_of(dtype);
    if (dtype == Dtype::kFloat) {
      args.y32 = y->as<float>();
      args.ldy32 = y->stride(0);
    } else {
      args.y16 = y->data;
      args.ldy16 = y->stride(0);
    }
    norm(at, args);
  });
  return call.taken(y);
}

py::object op_layer_norm(const py::object& x_MN, const py::object& weight_N,
                         const py::object& bias_N, float eps, const py::object& out,
                         const Precision& result, std::intptr_t stream) {
  return norm_rows(x_MN, weight_N, bias_N, true, eps, out, result, stream);
}

py::object op_rms_norm(const py::object& x_MN, const py::object& weight_N, float eps,
                       const py::object& out, const Precision& result, std::intptr_t stream) {
  return norm_rows(x_MN, weight_N, py::none(), false, eps, out, result, stream);
}

py::tuple op_log_sum_exp(const py::object& x_MN, const py::object& given_M, std::intptr_t stream) {
  OpCall call({x_MN, given_M}, {}, stream);
  const Operand* x = call.floats("x", x_MN, kRows);
  need_that(x != nullptr, "x is None; need an array");
  LogSumExpArgs args{};
  args.m = static_cast<int>(x->extent(0));
  args.n = OpCall::extent(*x, 1);
  const Operand* given = call.ints("given", given_M, {"M", 0, false});
  need_that(given == nullptr || given->extent(0) == args.m, "given: need one place for each row");
  if (given != nullptr && !call.on_device()) {
    const auto* places = static_cast<const std::int32_t*>(given->host);
    for (int i = 0; i < args.m; ++i) {
      need_that(
          places[i] >= 0 && places[i] < args.n,
          "given holds " + std::to_string(places[i]) + "; need 0 to " + std::to_string(args.n - 1));
    }
  }
  const Operand* log_prob = call.result(Dtype::kFloat, {args.m}, py::none(), kVector);
  const Operand* top = call.result(Dtype::kInt, {args.m}, py::none(), kVector);
  call.run(args.m == 0, [&](Stream& at) {
    args.x = x->as<float>();
    args.ldx = x->stride(0);
    args.given = data_of<int>(given);
    args.top = top->as<int>();
    args.log_prob = log_prob->as<float>();
    log_sum_exp(at, args);
  });
  return py::make_tuple(call.taken(log_prob), call.taken(top));
}

py::object op_patches(const py::object& x_BHWC, int kernel, int conv_stride, int padding,
                      const py::object& out, const Precision& result, const Precision& precision,
                      std::intptr_t stream) {
  OpCall call({x_BHWC, out}, precision, stream);
  const Operand* x = call.either("x", x_BHWC, {"BHWC", 0, false});
  need_that(x != nullptr, "x is None; need an array");
  need_that(kernel >= 1 && conv_stride >= 1 && padding >= 0,
            "kernel=" + std::to_string(kernel) + ", conv_stride=" + std::to_string(conv_stride) +
                ", padding=" + std::to_string(padding) + ": need 1 or more, padding 0 or more");
  PatchesArgs args{};
  args.batch = OpCall::extent(*x, 0);
  Conv2dShape& s = args.shape;
  s.height = OpCall::extent(*x, 1);
  s.width = OpCall::extent(*x, 2);
  s.in_channels = OpCall::extent(*x, 3);
  s.kernel = kernel;
  s.stride = conv_stride;
  s.padding = padding;
  need_that(std::min(s.height, s.width) + 2 * s.padding >= kernel,
            "x has shape " + described(x->shape) + "; with padding " + std::to_string(padding) +
                " need " + std::to_string(kernel) + " pixels");
  const std::int64_t count = args.batch * s.out_height() * s.out_width();
  // On the device rows end in zeros: a linear takes them as they are.
  const std::int64_t whole = (s.patch() + 7) / 8 * 8;
  need_that(whole <= INT32_MAX && count * (whole / 8) <= INT32_MAX, "x has too many patches");
  const Dtype dtype =
      call.result_dtype(out, result, is_half(x->dtype) ? x->dtype : dtype_of(call.type()));
  need_that(is_half(dtype) && (!is_half(x->dtype) || dtype == x->dtype),
            "patches are float16 or bfloat16, as x where that is");
  const Operand* p =
      call.result(dtype, {count, call.on_device() ? whole : s.patch()}, out, {"MK", 1, true});
  call.run(false, [&](Stream& at) {
    args.type = type_of(dtype);
    (x->dtype == Dtype::kFloat ? static_cast<void>(args.x32 = x->as<float>())
                               : static_cast<void>(args.x16 = x->data));
    args.p = p->data;
    args.ldp = p->stride(0);
    patches(at, args);
  });
  return call.taken(p);
}

}  // namespace

void bind_ops(py::module_& module) {
  using py::arg;
  const py::none none;
  module.def("linear", &op_linear, arg("x"), arg("weight"), arg("bias") = none, py::kw_only(),
             arg("residual") = none, arg("activation") = "none", arg("gated") = false,
             arg("norm") = "none", arg("norm_weight") = none, arg("norm_bias") = none,
             arg("eps") = 1e-6f, arg("original") = none, arg("scale") = 1.0f,
             arg("original_scale") = 1.0f, arg("out") = none, arg("result") = none,
             arg("precision") = none, arg("stream") = 0);
  module.def("layer_norm", &op_layer_norm, arg("x"), arg("weight"), arg("bias"), py::kw_only(),
             arg("eps") = 1e-6f, arg("out") = none, arg("result") = none, arg("stream") = 0);
  module.def("rms_norm", &op_rms_norm, arg("x"), arg("weight"), py::kw_only(), arg("eps") = 1e-6f,
             arg("out") = none, arg("result") = none, arg("stream") = 0);
  module.def("log_sum_exp", &op_log_sum_exp, arg("x"), py::kw_only(), arg("given") = none,
             arg("stream") = 0);
  module.def("patches", &op_patches, arg("x"), py::kw_only(), arg("kernel"), arg("conv_stride") = 1,
             arg("padding") = 0, arg("out") = none, arg("result") = none, arg("precision") = none,
             arg("stream") = 0);
}

}  // namespace tokenfuse::cuda
