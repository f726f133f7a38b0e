// The ops, one Python function each: shapes are checked here once, the GIL is released
// around the work, and the kernels trust their contracts.
#include <pybind11/stl.h>

#include <algorithm>
#include <new>
#include <optional>

#include "bind/arrays.h"
#include "bind/bind.h"
#include "bind/isa_choice.h"
#include "core/arena.h"
#include "core/thread_pool.h"
#include "kernels/attention/attention.h"
#include "kernels/attention_int16/attention_int16.h"
#include "kernels/conv2d/conv2d.h"
#include "kernels/gated_add/gated_add.h"
#include "kernels/gelu/gelu.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/linear/linear.h"
#include "kernels/linear_bf16/linear_bf16.h"
#include "kernels/linear_int8/linear_int8.h"
#include "kernels/log_sum_exp/log_sum_exp.h"
#include "kernels/merge_attention/merge_attention.h"
#include "kernels/quantize/quantize.h"
#include "kernels/rms_norm/rms_norm.h"

namespace py = pybind11;

namespace tokenfuse {
namespace {

using Optional = std::optional<FloatArray>;

Activation activation_of(const std::string& name) {
  if (name == "none") return Activation::kNone;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  throw std::invalid_argument("activation: need none, gelu or gelu_tanh");
}

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

// q (Q, H, h), k and v (K, H, h), all contiguous; bias (H, Q, K) or none. `scratch_bytes` of it go
// to each thread.
template <typename Kernel>
FloatArray heads_of(Kernel run, std::size_t scratch_bytes, const FloatArray& q_QHh,
                    const FloatArray& k_KHh, const FloatArray& v_KHh, float scale,
                    const Optional& bias_HQK, int num_threads) {
  const std::int64_t queries = q_QHh.shape(0), heads = q_QHh.shape(1), head_dim = q_QHh.shape(2);
  const std::int64_t keys = k_KHh.shape(0), inner = heads * head_dim;
  FloatArray o = new_array({queries, heads, head_dim});
  const float* bias = bias_HQK ? bias_HQK->data() : nullptr;
  const float *q = q_QHh.data(), *k = k_KHh.data(), *v = v_KHh.data();
  float* to = o.mutable_data();
  py::gil_scoped_release release;
  Arena arena(std::max(scratch_bytes * static_cast<std::size_t>(num_threads), Arena::kAlignment));
  if (!arena.ok()) throw std::bad_alloc();
  auto* scratch = static_cast<unsigned char*>(arena.bytes(arena.capacity_bytes()));
  ThreadPool pool(num_threads);
  pool.parallel_for(heads, [&](std::int64_t head, int thread) {
    AttentionArgs args{};
    args.q = q + head * head_dim;
    args.k = k + head * head_dim;
    args.v = v + head * head_dim;
    args.o = to + head * head_dim;
    args.ldq = args.ldk = args.ldv = args.ldo = inner;
    args.bias = bias == nullptr ? nullptr : bias + head * queries * keys;
    args.ldb = keys;
    args.num_queries = queries;
    args.num_keys = keys;
    args.head_dim = head_dim;
    args.scale = scale;
    run(args, scratch + scratch_bytes * static_cast<std::size_t>(thread));
  });
  return o;
}

void check_heads(const FloatArray& q_QHh, const FloatArray& k_KHh, const FloatArray& v_KHh,
                 const Optional& bias_HQK) {
  require(q_QHh.ndim() == 3 && k_KHh.ndim() == 3 && v_KHh.ndim() == 3, "q, k, v: need 3 axes");
  for (const FloatArray* array : {&q_QHh, &k_KHh, &v_KHh}) {
    require((array->flags() & py::array::c_style) != 0, "q, k, v: need C-contiguous arrays");
    require(array->shape(1) == q_QHh.shape(1) && array->shape(2) == q_QHh.shape(2),
            "k, v: need the heads of q");
  }
  require(v_KHh.shape(0) == k_KHh.shape(0), "k and v: need the same number of keys");
  if (!bias_HQK) return;
  require((bias_HQK->flags() & py::array::c_style) != 0 && bias_HQK->ndim() == 3 &&
              bias_HQK->shape(0) == q_QHh.shape(1) && bias_HQK->shape(1) == q_QHh.shape(0) &&
              bias_HQK->shape(2) == k_KHh.shape(0),
          "bias: need a C-contiguous (H, Q, K)");
}

FloatArray op_attention(const FloatArray& q_QHh, const FloatArray& k_KHh, const FloatArray& v_KHh,
                        float scale, const Optional& bias_HQK, const std::string& isa,
                        int num_threads) {
  const AttentionFn kernel = attention_kernel(isa_or_throw(isa));
  check_heads(q_QHh, k_KHh, v_KHh, bias_HQK);
  const auto run = [&](const AttentionArgs& args, void* scratch) {
    kernel(args, static_cast<float*>(scratch));
  };
  const std::size_t floats = attention_scratch_floats(k_KHh.shape(0), q_QHh.shape(2));
  return heads_of(run, floats * sizeof(float), q_QHh, k_KHh, v_KHh, scale, bias_HQK, num_threads);
}

FloatArray op_attention_int16(const FloatArray& q_QHh, const FloatArray& k_KHh,
                              const FloatArray& v_KHh, float scale, const Optional& bias_HQK,
                              const std::string& isa, int num_threads) {
  const AttentionInt16Fn run = attention_int16_kernel(isa_or_throw(isa));
  check_heads(q_QHh, k_KHh, v_KHh, bias_HQK);
  require(k_KHh.shape(0) <= kInt16MaxKeys, "k: the sums of so many keys do not fit 32 bits");
  const std::size_t bytes = attention_int16_scratch_bytes(k_KHh.shape(0), q_QHh.shape(2));
  return heads_of(run, bytes, q_QHh, k_KHh, v_KHh, scale, bias_HQK, num_threads);
}

// Returns (out (G, D), lse (G,), weights (G, S) or None).
py::tuple op_merge_attention(const FloatArray& q_GD, const FloatArray& x_SD, const Optional& mask_S,
                             bool want_weights, const std::string& isa) {
  const MergeAttentionKernel& kernel = merge_attention_kernel(isa_or_throw(isa));
  const Rows q = rows_of(q_GD, "queries"), x = rows_of(x_SD, "tokens");
  require(q.width == x.width, "queries and tokens: need the same width");
  FloatArray out = new_array({q.count, q.width}), lse = new_array({q.count});
  MergeAttentionArgs args{};
  args.q = q.data;
  args.ldq = q.stride;
  args.x = x.data;
  args.ldx = x.stride;
  if (mask_S) args.mask = vector_of(*mask_S, x.count, "mask");
  args.o = out.mutable_data();
  args.ldo = q.width;
  args.lse = lse.mutable_data();
  args.num_rows = q.count;
  args.num_tokens = x.count;
  args.width = q.width;
  py::object weights = py::none();
  float* weights_data = nullptr;
  if (want_weights) {
    FloatArray array = new_array({q.count, x.count});
    weights_data = array.mutable_data();
    weights = array;
  }
  std::vector<float> scratch(merge_attention_scratch_floats(q.width, q.count));
  {
    py::gil_scoped_release release;
    kernel.run(args, scratch.data());
    if (weights_data != nullptr) kernel.weights(args, weights_data, x.count);
  }
  return py::make_tuple(out, lse, weights);
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

void bind_ops(py::module_& module) {
  module.def("linear", &op_linear);
  module.def("linear_bf16", &op_linear_bf16);
  module.def("quantize", &op_quantize);
  module.def("linear_int8", &op_linear_int8);
  module.def("layer_norm", &op_layer_norm);
  module.def("log_sum_exp", &op_log_sum_exp);
  module.def("rms_norm", &op_rms_norm);
  module.def("gelu", &op_gelu);
  module.def("gated_add", &op_gated_add);
  module.def("attention", &op_attention);
  module.def("attention_int16", &op_attention_int16);
  module.def("merge_attention", &op_merge_attention);
  module.def("conv2d", &op_conv2d);
}

}  // namespace tokenfuse
