// The dense layers, and what they are made of, as functions on NumPy arrays: shapes are checked
// here once, the GIL is released around the work, and the kernels trust their contracts.
#include <pybind11/stl.h>

#include <algorithm>
#include <new>

#include "bind/activation_name.h"
#include "bind/arrays.h"
#include "bind/bind.h"
#include "bind/isa_choice.h"
#include "core/arena.h"
#include "core/thread_pool.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/linear/linear.h"
#include "kernels/linear_bf16/linear_bf16.h"
#include "kernels/linear_int8/linear_int8.h"
#include "kernels/quantize/quantize.h"

namespace py = pybind11;

namespace tokenfuse {
namespace {

// Bias and residual of a dense layer, checked against its m and n.
template <typename Args>
void set_ending(Args& args, const Optional& bias_N, const Optional& residual_MN) {
  if (bias_N) args.bias = vector_of(*bias_N, args.n, "bias");
  if (!residual_MN) return;
  const Rows r = rows_of(*residual_MN, "residual");
  require(r.count == args.m && r.width == args.n, "residual: need the shape of the result");
  args.residual = r.data;
  args.ldr = r.stride;
}

// Everything of a dense layer with float rows but its packed weights; returns y.
template <typename Args>
FloatArray set_product(Args& args, const FloatArray& x_MK, const Rows& w, const Optional& bias_N,
                       const Optional& residual_MN, const std::string& activation) {
  const Rows x = rows_of(x_MK, "x");
  require(x.width == w.width, "x and w: need the same K");
  args.x = x.data;
  args.ldx = x.stride;
  args.m = x.count;
  args.n = w.count;
  args.k = x.width;
  args.activation = activation_of(activation);
  set_ending(args, bias_N, residual_MN);
  FloatArray y = new_array({args.m, args.n});
  args.y = y.mutable_data();
  args.ldy = args.n;
  return y;
}

FloatArray op_linear(const FloatArray& x_MK, const FloatArray& w_NK, const Optional& bias_N,
                     const Optional& residual_MN, const std::string& activation,
                     const std::string& isa, int num_threads) {
  const LinearKernel& kernel = linear_kernel(isa_or_throw(isa));
  const Rows w = rows_of(w_NK, "w");
  LinearArgs args{};
  FloatArray y = set_product(args, x_MK, w, bias_N, residual_MN, activation);
  std::vector<float> packed(linear_packed_floats(kernel, args.n, args.k));
  {
    py::gil_scoped_release release;
    ThreadPool pool(num_threads);
    linear_pack(kernel, w.data, w.stride, args.n, args.k, packed.data());
    args.packed = packed.data();
    linear(kernel, args, pool);
  }
  return y;
}

FloatArray op_linear_bf16(const FloatArray& x_MK, const FloatArray& w_NK, const Optional& bias_N,
                          const Optional& residual_MN, const std::string& activation,
                          const std::string& isa, int num_threads) {
  const LinearBf16Kernel& kernel = linear_bf16_kernel(isa_or_throw(isa));
  const Rows w = rows_of(w_NK, "w");
  LinearBf16Args args{};
  FloatArray y = set_product(args, x_MK, w, bias_N, residual_MN, activation);
  std::vector<std::uint16_t> packed(linear_bf16_packed_count(kernel, args.n, args.k));
  const std::size_t bytes = linear_bf16_scratch_bytes(kernel, args.m, args.k, num_threads);
  Arena scratch(std::max(bytes, Arena::kAlignment));
  if (!scratch.ok()) throw std::bad_alloc();
  {
    py::gil_scoped_release release;
    ThreadPool pool(num_threads);
    linear_bf16_pack(kernel, w.data, w.stride, args.n, args.k, packed.data());
    args.packed = packed.data();
    linear_bf16(kernel, args, scratch.bytes(bytes), pool);
  }
  return y;
}

using ByteArray = py::array_t<std::int8_t, py::array::c_style>;

// q (M, K) int8, scale (M,), sum (M,).
py::tuple op_quantize(const FloatArray& x_MK, const std::string& isa) {
  const QuantizeFn run = quantize_kernel(isa_or_throw(isa));
  const Rows x = rows_of(x_MK, "x");
  ByteArray q({x.count, x.width});
  FloatArray scale = new_array({x.count});
  py::array_t<std::int32_t> sum(x.count);
  std::int8_t* q_to = q.mutable_data();
  float* scale_to = scale.mutable_data();
  std::int32_t* sum_to = sum.mutable_data();
  {
    py::gil_scoped_release release;
    run(x.data, x.stride, q_to, x.width, scale_to, sum_to, x.count, x.width);
  }
  return py::make_tuple(q, scale, sum);
}

FloatArray op_linear_int8(const FloatArray& x_MK, const ByteArray& w_NK, const FloatArray& scale_N,
                          const Optional& bias_N, const Optional& residual_MN,
                          const std::string& activation, const std::string& isa, int num_threads) {
  const Isa chosen = isa_or_throw(isa);
  const LinearInt8Kernel& kernel = linear_int8_kernel(chosen);
  const Rows x = rows_of(x_MK, "x");
  require(w_NK.ndim() == 2 && w_NK.shape(1) == x.width, "x and w: need the same K");
  require(x.width <= kInt8MaxK, "x: the sums of so long rows do not fit 32 bits");
  LinearInt8Args args{};
  args.m = x.count;
  args.n = w_NK.shape(0);
  args.k = x.width;
  args.activation = activation_of(activation);
  set_ending(args, bias_N, residual_MN);
  const float* scale = vector_of(scale_N, args.n, "scale");
  FloatArray y = new_array({args.m, args.n});
  args.y = y.mutable_data();
  args.ldy = args.n;
  const std::int64_t panels = linear_int8_num_panels(kernel, args.n);
  std::vector<std::uint8_t> packed(linear_int8_packed_bytes(kernel, args.n, args.k));
  std::vector<float> scales(static_cast<std::size_t>(panels * kernel.panel_width), 0.0f);
  std::copy(scale, scale + args.n, scales.begin());
  const std::int64_t padded = int8_padded(args.k);
  std::vector<std::int8_t> q(static_cast<std::size_t>(args.m * padded));
  std::vector<float> row_scales(static_cast<std::size_t>(args.m));
  std::vector<std::int32_t> sums(static_cast<std::size_t>(args.m));
  {
    py::gil_scoped_release release;
    ThreadPool pool(num_threads);
    linear_int8_pack(kernel, w_NK.data(), args.n, args.k, packed.data());
    args.packed = packed.data();
    args.weight_scale = scales.data();
    const QuantizedRows rows{q.data(), padded, row_scales.data(), sums.data()};
    linear_int8(kernel, quantize_kernel(chosen), x.data, x.stride, rows, args, pool);
  }
  return y;
}

FloatArray op_conv2d(const FloatArray& x_HWC, const FloatArray& w_OCkk, const Optional& bias_O,
                     std::int64_t stride, std::int64_t padding, const std::string& activation,
                     const std::string& isa, int num_threads) {
  const LinearKernel& kernel = linear_kernel(isa_or_throw(isa));
  const bool contiguous =
      (x_HWC.flags() & py::array::c_style) != 0 && (w_OCkk.flags() & py::array::c_style) != 0;
  require(contiguous && x_HWC.ndim() == 3 && w_OCkk.ndim() == 4,
          "x, w: need (H, W, C), (O, C, k, k)");
  require(w_OCkk.shape(1) == x_HWC.shape(2) && w_OCkk.shape(2) == w_OCkk.shape(3),
          "w: need the channels of x and a square kernel");
  const Conv2dShape shape{x_HWC.shape(0),  x_HWC.shape(1), x_HWC.shape(2), w_OCkk.shape(0),
                          w_OCkk.shape(2), stride,         padding};
  require(stride > 0 && padding >= 0 && shape.kernel > 0, "need stride > 0, padding >= 0");
  require(shape.height + 2 * padding >= shape.kernel && shape.width + 2 * padding >= shape.kernel,
          "x: smaller than the kernel");
  const float* bias = bias_O ? vector_of(*bias_O, shape.out_channels, "bias") : nullptr;
  const Activation act = activation_of(activation);
  FloatArray y = new_array({shape.out_height(), shape.out_width(), shape.out_channels});
  float* to = y.mutable_data();
  std::vector<float> packed(conv2d_packed_floats(kernel, shape));
  std::vector<float> temporary(static_cast<std::size_t>(shape.out_channels * shape.patch()));
  std::vector<float> scratch(conv2d_scratch_floats(shape) * static_cast<std::size_t>(num_threads));
  py::gil_scoped_release release;
  ThreadPool pool(num_threads);
  conv2d_pack(kernel, shape, w_OCkk.data(), temporary.data(), packed.data());
  conv2d(kernel, shape, x_HWC.data(), packed.data(), bias, act, to, scratch.data(), pool);
  return y;
}

}  // namespace

void bind_linear_ops(py::module_& module) {
  module.def("linear", &op_linear);
  module.def("linear_bf16", &op_linear_bf16);
  module.def("quantize", &op_quantize);
  module.def("linear_int8", &op_linear_int8);
  module.def("conv2d", &op_conv2d);
}

}  // namespace tokenfuse
