// Attention, plain and merging, as functions on NumPy arrays: shapes are checked
// here once, the GIL is released around the work, and the kernels trust their contracts.
#include <pybind11/stl.h>

#include <algorithm>
#include <new>

#include "bind/arrays.h"
#include "bind/bind.h"
#include "bind/isa_choice.h"
#include "core/arena.h"
#include "core/thread_pool.h"
#include "kernels/attention/attention.h"
#include "kernels/attention_int16/attention_int16.h"
#include "kernels/merge_attention/merge_attention.h"

namespace py = pybind11;

namespace tokenfuse {
namespace {

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

}  // namespace

void bind_attention_ops(py::module_& module) {
  module.def("attention", &op_attention);
  module.def("attention_int16", &op_attention_int16);
  module.def("merge_attention", &op_merge_attention);
}

}  // namespace tokenfuse
