// The kernels of one instruction set with the threads that run them: what the layers call.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "core/arena.h"
#include "core/isa.h"
#include "core/row_tasks.h"
#include "core/thread_pool.h"
#include "engine/weights.h"
#include "kernels/attention/attention.h"
#include "kernels/attention_int16/attention_int16.h"
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

namespace tokenfuse {

// Of the linears. Below kFp32 attention among many queries is in 16-bit integers, whose steps are
// finer than bfloat16's; all else is float32.
enum class Precision { kFp32, kBf16, kInt8 };

// Rows of floats with a stride.
struct View {
  float* data;
  std::int64_t stride;

  float* row(std::int64_t i) const noexcept { return data + i * stride; }
  View columns(std::int64_t first) const noexcept { return {data + first, stride}; }
  View rows(std::int64_t first) const noexcept {
    return {data == nullptr ? nullptr : row(first), stride};
  }
};

// Q, K and V of all heads side by side in their rows; `bias` is (H) blocks of rows.
struct HeadsArgs {
  View q, k, v, o;
  const float* bias;  // or null; head h begins at bias + h * bias_head_stride
  std::int64_t bias_head_stride, bias_row_stride;
  std::int64_t num_heads, head_dim, num_queries, num_keys;
  float scale;
};

struct LogSumExp {
  std::int32_t top;
  float largest, rest;

  float log_prob(float logit) const noexcept { return (logit - largest) - rest; }
};

// One linear of a chain: y = act(norm(x) W^T + b) + residual. Without a norm, that is where it is
// null, x is used as it is; with one, `normed` keeps norm(x). Each row of y depends on the same row
// of x alone.
struct Link {
  const PackedLinear* weights;
  const Norm* norm;
  View x, normed, y;
  Activation activation;
  View residual;
};

class Compute {
 public:
  Compute(Isa isa, Precision precision, int num_threads);

  Isa isa() const noexcept { return isa_; }
  ThreadPool& pool() noexcept { return pool_; }
  Precision precision() const noexcept { return precision_; }
  const LinearKernel& linear_kernel() const noexcept { return *linear_; }
  Packing packing() const noexcept {
    return {linear_, precision_ == Precision::kInt8 ? linear_int8_ : nullptr, quantize_,
            precision_ == Precision::kBf16 ? linear_bf16_ : nullptr};
  }

  // Scratch of one thread for `attend`.
  std::size_t attention_floats(std::int64_t num_keys, std::int64_t head_dim) const noexcept;
  // Scratch for the largest attention, merge and linear (rows and inputs) that will come.
  void layout(Arena& arena, std::size_t attention_floats, std::size_t merge_floats,
              std::int64_t linear_rows, std::int64_t linear_inputs) noexcept;

  // y = act(x W^T + b) + residual; residual.data may be null, or y itself.
  void linear(const PackedLinear& weights, View x, View y, std::int64_t rows,
              Activation activation = Activation::kNone, View residual = {nullptr, 0}) noexcept;
  void norm(const Norm& norm, View x, View y, std::int64_t rows) noexcept;
  // The links one after the other. Where rows are many, a thread takes its rows through all of
  // them: they stay in its cache, and threads meet once instead of at every link.
  void chain(std::initializer_list<Link> links, std::int64_t rows) noexcept;
  // y = gelu_tanh(gate) * up, over `width` columns.
  void gated_gelu(View gate, View up, View y, std::int64_t rows, std::int64_t width) noexcept;
  void gated_add(float a, const float* x, float b, const float* z, float* y,
                 std::int64_t count) noexcept;
  void attend(const HeadsArgs& args) noexcept;
  // Of one row of logits: the largest, and what turns a logit into a log-probability.
  LogSumExp log_sum_exp(const float* logits, std::int64_t count) const noexcept;
  // `args.lse` is needed where `weights` (num_rows x num_tokens) is not null.
  void merge(const MergeAttentionArgs& args, float* weights) noexcept;

 private:
  RowTasks chain_tasks(std::int64_t rows) const noexcept;
  // A link's product on rows [begin, end) of x, on this thread.
  void linear_rows(const Link& link, View x, std::int64_t begin, std::int64_t end) noexcept;
  void norm_rows(const Norm& norm, View x, View y, std::int64_t begin,
                 std::int64_t end) const noexcept;
  // With `first`, those of one of several threads.
  QuantizedRows quantized_rows(std::int64_t num_in, std::int64_t first = 0) const noexcept;

  Isa isa_;
  Precision precision_;
  ThreadPool pool_;
  const LinearKernel* linear_;
  const LinearBf16Kernel* linear_bf16_;
  const LinearInt8Kernel* linear_int8_;
  QuantizeFn quantize_;
  LayerNormFn layer_norm_;
  RmsNormFn rms_norm_;
  GeluFn gelu_;
  LogSumExpFn log_sum_exp_;
  GatedAddFn gated_add_;
  AttentionFn attention_;
  AttentionInt16Fn attention_int16_;
  const MergeAttentionKernel* merge_;
  float* scratch_ = nullptr;
  std::size_t scratch_per_thread_ = 0;
  QuantizedRows quantized_{};  // for the widest input
  std::uint16_t* bf16_scratch_ = nullptr;
  std::int64_t linear_inputs_ = 0;  // of the widest linear
};

}  // namespace tokenfuse
