// Attention, plain and merging, in Python: what each needs of its arrays, and its kernel's
// arguments.
#include <pybind11/stl.h>

#include "bind/cuda/bind_cuda.h"
#include "bind/cuda/op_call.h"
#include "core/cuda/stream_order.h"
#include "kernels/attention/cuda.h"
#include "kernels/merge_attention/cuda.h"

namespace py = pybind11;

namespace tokenfuse::cuda {
namespace {

// Of a grid's second and third axis.
constexpr std::int64_t kMostBlocks = 65535;

// Rows of heads: (B, rows, H, h). Batches and rows may lie anywhere, as in a joint q, k, v.
const Operand* heads_of(OpCall& call, const char* name, const py::object& array, const char* axes) {
  const Operand* heads = call.halves(name, array, {axes, 2, true});
  need_that(heads != nullptr, std::string(name) + " is None; need an array");
  return heads;
}

void check_heads(const Operand& q, const Operand& k, const Operand& v) {
  for (const Operand* one : {&k, &v}) {
    const Extents need{q.extent(0), k.extent(1), q.extent(2), q.extent(3)};
    need_that(one->shape == need, std::string(one->name) + " has shape " + described(one->shape) +
                                      "; q has " + described(q.shape) + ", so need " +
                                      described(need) + ", the batch first");
  }
}

py::object op_attention(const py::object& q_BQHh, const py::object& k_BKHh,
                        const py::object& v_BKHh, float scale, const py::object& relative_bias,
                        const py::object& key_counts_B, const py::object& out,
                        const std::optional<std::string>& precision, std::intptr_t stream) {
  OpCall call({q_BQHh, k_BKHh, v_BKHh, relative_bias, key_counts_B, out}, precision, stream);
  const Operand* q = heads_of(call, "q", q_BQHh, "BQHh");
  const Operand* k = heads_of(call, "k", k_BKHh, "BKHh");
  const Operand* v = heads_of(call, "v", v_BKHh, "BKHh");
  check_heads(*q, *k, *v);
  AttentionArgs args{};
  args.batch = OpCall::extent(*q, 0, kMostBlocks);
  args.num_queries = static_cast<int>(q->extent(1));
  args.num_keys = OpCall::extent(*k, 1);
  args.num_heads = OpCall::extent(*q, 2, kMostBlocks);
  OpCall::extent(*q, 3, 128);
  args.head_dim = static_cast<int>(q->width);
  const std::int64_t line = std::int64_t{args.num_queries} + args.num_keys - 1;
  const Operand* bias = call.floats("relative_bias", relative_bias, {"HR", 0, false});
  need_that(
      bias == nullptr || bias->shape == Extents({args.num_heads, line}),
      (bias == nullptr ? std::string() : "relative_bias has shape " + described(bias->shape)) +
          "; need (H, Q + K - 1), which is " + described({args.num_heads, line}));
  const Operand* counts = call.ints("key_counts", key_counts_B, {"N", 0, false});
  need_that(counts == nullptr || counts->extent(0) == args.batch,
            "key_counts: need one for each of the batch, " + std::to_string(args.batch));
  if (counts != nullptr && !call.on_device()) {
    const auto* given = static_cast<const std::int32_t*>(counts->host);
    for (int i = 0; i < args.batch; ++i) {
      need_that(given[i] >= 1 && given[i] <= args.num_keys,
                "key_counts holds " + std::to_string(given[i]) + "; need 1 to " +
                    std::to_string(args.num_keys));
    }
  }
  const Operand* o = call.result(q->dtype, q->shape, out, {"BQHh", 2, true}, q->is_single);
  call.run(args.num_queries == 0, [&](Stream& at) {
    args.type = call.type();
    args.q = q->data;
    args.k = k->data;
    args.v = v->data;
    args.o = o->data;
    args.batch_stride_q = q->stride(0);
    args.batch_stride_k = k->stride(0);
    args.batch_stride_v = v->stride(0);
    args.batch_stride_o = o->stride(0);
    args.ldq = q->stride(1);
    args.ldk = k->stride(1);
    args.ldv = v->stride(1);
    args.ldo = o->stride(1);
    if (bias != nullptr) args.bias = bias->as<float>() + args.num_queries - 1;
    args.bias_head_stride = line;
    if (counts != nullptr) args.key_counts = counts->as<int>();
    args.scale = scale;
    attention(at, OpCall::device(), args);
  });
  return call.taken(o);
}

// (out, lse, weights or None).
py::tuple op_merge_attention(const py::object& queries_GD, const py::object& tokens_BSD,
                             bool return_weights, const py::object& out,
                             const std::optional<std::string>& precision, std::intptr_t stream) {
  OpCall call({queries_GD, tokens_BSD, out}, precision, stream);
  const Operand* q = call.halves("queries", queries_GD, {"GD", 0, true});
  const Operand* x = call.halves("tokens", tokens_BSD, {"BSD", 0, true});
  need_that(q != nullptr && x != nullptr, "queries or tokens is None; need both");
  MergeAttentionArgs args{};
  args.batch = OpCall::extent(*x, 0, kMostBlocks);
  args.rows = OpCall::extent(*q, 0, kMostBlocks);
  args.tokens = OpCall::extent(*x, 1);
  OpCall::extent(*q, 1, 1024);
  args.width = static_cast<int>(q->width);
  need_that(q->extent(1) == x->extent(2), "D must be the same: queries has " +
                                              std::to_string(q->extent(1)) + ", tokens has " +
                                              std::to_string(x->extent(2)));
  args.type = call.type();
  const bool is_single = x->is_single;
  const Operand* o = call.result(q->dtype, {args.batch, args.rows, q->extent(1)}, out,
                                 {"BGD", 0, true}, is_single);
  const Operand* lse =
      call.result(Dtype::kFloat, {args.batch, args.rows}, py::none(), {"BG", 0, false}, is_single);
  const Operand* weights = return_weights
                               ? call.result(Dtype::kFloat, {args.batch, args.rows, args.tokens},
                                             py::none(), {"BGS", 0, false}, is_single)
                               : nullptr;
  call.run(false, [&](Stream& at) {
    args.q = q->data;
    args.x = x->data;
    args.o = o->data;
    args.lse = lse->as<float>();
    if (weights != nullptr) args.weights = weights->as<float>();
    const std::size_t bytes = merge_attention_workspace_bytes(OpCall::device(), args);
    const StreamBuffer workspace(bytes, at);
    args.workspace = workspace.data();
    merge_attention(at, OpCall::device(), args);
  });
  return py::make_tuple(call.taken(o), call.taken(lse), call.taken(weights));
}

}  // namespace

void bind_attention_ops(py::module_& module) {
  using py::arg;
  const py::none none;
  module.def("attention", &op_attention, arg("q"), arg("k"), arg("v"), py::kw_only(), arg("scale"),
             arg("relative_bias") = none, arg("key_counts") = none, arg("out") = none,
             arg("precision") = none, arg("stream") = 0);
  module.def("merge_attention", &op_merge_attention, arg("queries"), arg("tokens"), py::kw_only(),
             arg("return_weights") = false, arg("out") = none, arg("precision") = none,
             arg("stream") = 0);
}

}  // namespace tokenfuse::cuda
