#include "engine/compute.h"

#include <algorithm>

namespace tokenfuse {
namespace {

// Below this much work, waking a thread (about 5 us) costs more than it saves.
constexpr std::int64_t kMinParallelMacs = 64 * 1024;
constexpr std::int64_t kMinParallelElements = 16 * 1024;
// Queries from which packing keys and values in 16 bits pays.
constexpr std::int64_t kMinInt16Queries = 16;

}  // namespace

Compute::Compute(Isa isa, Precision precision, int num_threads)
    : isa_(isa),
      precision_(precision),
      pool_(num_threads),
      linear_(&tokenfuse::linear_kernel(isa)),
      linear_bf16_(&tokenfuse::linear_bf16_kernel(isa)),
      linear_int8_(&tokenfuse::linear_int8_kernel(isa)),
      quantize_(quantize_kernel(isa)),
      layer_norm_(layer_norm_kernel(isa)),
      rms_norm_(rms_norm_kernel(isa)),
      gelu_(gelu_kernel(isa)),
      log_sum_exp_(log_sum_exp_kernel(isa)),
      gated_add_(gated_add_kernel(isa)),
      attention_(attention_kernel(isa)),
      attention_int16_(attention_int16_kernel(isa)),
      merge_(&merge_attention_kernel(isa)) {}

std::size_t Compute::attention_floats(std::int64_t num_keys, std::int64_t head_dim) const noexcept {
  const std::size_t floats = attention_scratch_floats(num_keys, head_dim);
  if (precision_ == Precision::kFp32) return floats;
  return std::max(floats, attention_int16_scratch_bytes(num_keys, head_dim) / sizeof(float));
}

void Compute::layout(Arena& arena, std::size_t attention_floats, std::size_t merge_floats,
                     std::int64_t linear_rows, std::int64_t linear_inputs) noexcept {
  // Whole cache lines per thread, so that no two write into one.
  constexpr std::size_t kLine = Arena::kAlignment / sizeof(float);
  const std::size_t largest = std::max(attention_floats, merge_floats);
  scratch_per_thread_ = (largest + kLine - 1) / kLine * kLine;
  scratch_ = arena.floats(scratch_per_thread_ * static_cast<std::size_t>(pool_.num_threads()));
  linear_inputs_ = linear_inputs;
  if (precision_ == Precision::kBf16) {
    bf16_scratch_ = static_cast<std::uint16_t*>(arena.bytes(
        linear_bf16_scratch_bytes(*linear_bf16_, linear_rows, linear_inputs, pool_.num_threads())));
  }
  if (precision_ != Precision::kInt8) return;
  const auto rows = static_cast<std::size_t>(linear_rows);
  quantized_.ldq = int8_padded(linear_inputs);
  const auto bytes = static_cast<std::size_t>(quantized_.ldq);
  quantized_.q = static_cast<std::int8_t*>(arena.bytes(rows * bytes));
  quantized_.scale = arena.floats(rows);
  quantized_.sum = static_cast<std::int32_t*>(arena.bytes(rows * sizeof(std::int32_t)));
}

namespace {

// What all kinds of arguments share.
template <typename Args>
Args linear_args(const PackedLinear& weights, View y, std::int64_t rows, Activation activation,
                 View residual) noexcept {
  Args args{};
  args.bias = weights.bias;
  args.residual = residual.data;
  args.ldr = residual.stride;
  args.y = y.data;
  args.ldy = y.stride;
  args.m = rows;
  args.n = weights.num_out;
  args.k = weights.num_in;
  args.activation = activation;
  return args;
}

LinearInt8Args int8_args(const PackedLinear& weights, View y, std::int64_t rows,
                         Activation activation, View residual) noexcept {
  auto args = linear_args<LinearInt8Args>(weights, y, rows, activation, residual);
  args.packed = weights.packed_int8;
  args.weight_scale = weights.scale;
  return args;
}

// Of float rows.
template <typename Args, typename Packed>
Args float_args(const PackedLinear& weights, const Packed* packed, View x, View y,
                std::int64_t rows, Activation activation, View residual) noexcept {
  auto args = linear_args<Args>(weights, y, rows, activation, residual);
  args.x = x.data;
  args.ldx = x.stride;
  args.packed = packed;
  return args;
}

LinearArgs fp32_args(const PackedLinear& weights, View x, View y, std::int64_t rows,
                     Activation activation, View residual) noexcept {
  return float_args<LinearArgs>(weights, weights.packed, x, y, rows, activation, residual);
}

LinearBf16Args bf16_args(const PackedLinear& weights, View x, View y, std::int64_t rows,
                         Activation activation, View residual) noexcept {
  return float_args<LinearBf16Args>(weights, weights.packed_bf16, x, y, rows, activation, residual);
}

}  // namespace

void Compute::linear(const PackedLinear& weights, View x, View y, std::int64_t rows,
                     Activation activation, View residual) noexcept {
  switch (precision_) {
    case Precision::kInt8:
      linear_int8(*linear_int8_, quantize_, x.data, x.stride, quantized_rows(weights.num_in),
                  int8_args(weights, y, rows, activation, residual), pool_);
      break;
    case Precision::kBf16:
      linear_bf16(*linear_bf16_, bf16_args(weights, x, y, rows, activation, residual),
                  bf16_scratch_, pool_);
      break;
    case Precision::kFp32:
      tokenfuse::linear(*linear_, fp32_args(weights, x, y, rows, activation, residual), pool_);
  }
}

void Compute::linear_rows(const Link& link, View x, std::int64_t begin, std::int64_t end) noexcept {
  const PackedLinear& weights = *link.weights;
  const View from = x.rows(begin), y = link.y.rows(begin), residual = link.residual.rows(begin);
  const std::int64_t rows = end - begin;
  switch (precision_) {
    case Precision::kInt8:
      linear_int8_rows(*linear_int8_, quantize_, from.data, from.stride,
                       quantized_rows(weights.num_in, begin),
                       int8_args(weights, y, rows, link.activation, residual));
      break;
    case Precision::kBf16:
      linear_bf16_rows(*linear_bf16_, bf16_args(weights, from, y, rows, link.activation, residual),
                       bf16_scratch_ + begin * bf16_padded(linear_inputs_));
      break;
    case Precision::kFp32:
      linear_->run(fp32_args(weights, from, y, rows, link.activation, residual), 0, rows, 0,
                   linear_num_panels(*linear_, weights.num_out));
  }
}

QuantizedRows Compute::quantized_rows(std::int64_t num_in, std::int64_t first) const noexcept {
  // Rows begin as far apart as those of the widest input, so that threads at different links of a
  // chain keep out of each other's.
  return {quantized_.q + first * quantized_.ldq, int8_padded(num_in), quantized_.scale + first,
          quantized_.sum + first};
}

void Compute::norm_rows(const Norm& norm, View x, View y, std::int64_t begin,
                        std::int64_t end) const noexcept {
  if (norm.bias == nullptr) {
    rms_norm_(x.row(begin), x.stride, norm.weight, norm.eps, y.row(begin), y.stride, end - begin,
              norm.width);
  } else {
    layer_norm_(x.row(begin), x.stride, norm.weight, norm.bias, norm.eps, y.row(begin), y.stride,
                end - begin, norm.width);
  }
}

void Compute::norm(const Norm& norm, View x, View y, std::int64_t rows) noexcept {
  const std::int64_t tasks = pool_.num_threads();
  if (tasks == 1 || rows * norm.width < kMinParallelElements) {
    norm_rows(norm, x, y, 0, rows);
    return;
  }
  pool_.parallel_for(tasks, [&](std::int64_t task, int) {
    norm_rows(norm, x, y, rows * task / tasks, rows * (task + 1) / tasks);
  });
}

RowTasks Compute::chain_tasks(std::int64_t rows) const noexcept {
  // A tile of one row sums in another order than the others: with float sums, rows are split where
  // they always are.
  const auto split = [&](int tile_rows, std::int64_t step) {
    return row_tasks(rows, tile_rows, step, pool_.num_threads());
  };
  switch (precision_) {
    case Precision::kInt8:
      return split(linear_int8_->tile_rows, 1);
    case Precision::kBf16:
      // Where weights are widened, each part of the rows would widen them again.
      if (linear_bf16_->round == nullptr) return {rows, 1, 1};
      return split(linear_bf16_->tile_rows, linear_bf16_->tile_rows);
    default:
      return split(linear_->tile_rows, linear_->tile_rows);
  }
}

void Compute::chain(std::initializer_list<Link> links, std::int64_t rows) noexcept {
  const RowTasks tasks = chain_tasks(rows);
  if (tasks.count > 1) {
    pool_.parallel_for(tasks.count, [&](std::int64_t task, int) {
      const std::int64_t begin = tasks.begin(task), end = tasks.begin(task + 1);
      for (const Link& link : links) {
        if (link.norm != nullptr) norm_rows(*link.norm, link.x, link.normed, begin, end);
        linear_rows(link, link.norm == nullptr ? link.x : link.normed, begin, end);
      }
    });
    return;
  }
  for (const Link& link : links) {
    if (link.norm != nullptr) norm(*link.norm, link.x, link.normed, rows);
    linear(*link.weights, link.norm == nullptr ? link.x : link.normed, link.y, rows,
           link.activation, link.residual);
  }
}

void Compute::gated_gelu(View gate, View up, View y, std::int64_t rows,
                         std::int64_t width) noexcept {
  gelu_(GeluForm::kTanh, gate.data, gate.stride, up.data, up.stride, y.data, y.stride, rows, width);
}

void Compute::gated_add(float a, const float* x, float b, const float* z, float* y,
                        std::int64_t count) noexcept {
  gated_add_(a, x, b, z, y, count);
}

LogSumExp Compute::log_sum_exp(const float* logits, std::int64_t count) const noexcept {
  LogSumExp result;
  log_sum_exp_(logits, count, &result.rest, &result.top, 1, count);
  result.largest = logits[result.top];
  return result;
}

void Compute::attend(const HeadsArgs& args) noexcept {
  // A split of the queries repeats the transposition of the keys: only as many as give every
  // thread the same number of tasks.
  const std::int64_t threads = pool_.num_threads();
  const std::int64_t macs = args.num_heads * args.num_queries * args.num_keys * args.head_dim;
  const bool serial = threads == 1 || macs < kMinParallelMacs;
  std::int64_t splits = 1;
  const std::int64_t most = std::max<std::int64_t>(1, args.num_queries / 4);
  while (!serial && splits < most && splits < threads && args.num_heads * splits % threads != 0) {
    ++splits;
  }
  const bool int16 = precision_ != Precision::kFp32 && args.num_queries >= kMinInt16Queries &&
                     args.num_keys <= kInt16MaxKeys;
  auto run = [&](std::int64_t task, int thread) {
    const std::int64_t head = task / splits, split = task % splits;
    const std::int64_t begin = args.num_queries * split / splits;
    const std::int64_t column = head * args.head_dim;
    AttentionArgs one{};
    one.q = args.q.row(begin) + column;
    one.ldq = args.q.stride;
    one.k = args.k.data + column;
    one.ldk = args.k.stride;
    one.v = args.v.data + column;
    one.ldv = args.v.stride;
    one.o = args.o.row(begin) + column;
    one.ldo = args.o.stride;
    if (args.bias != nullptr) {
      one.bias = args.bias + head * args.bias_head_stride + begin * args.bias_row_stride;
      one.ldb = args.bias_row_stride;
    }
    one.num_queries = args.num_queries * (split + 1) / splits - begin;
    one.num_keys = args.num_keys;
    one.head_dim = args.head_dim;
    one.scale = args.scale;
    float* scratch = scratch_ + scratch_per_thread_ * static_cast<std::size_t>(thread);
    if (int16) {
      attention_int16_(one, scratch);
    } else {
      attention_(one, scratch);
    }
  };
  if (serial) {
    for (std::int64_t head = 0; head < args.num_heads; ++head) run(head, 0);
  } else {
    pool_.parallel_for(args.num_heads * splits, run);
  }
}

void Compute::merge(const MergeAttentionArgs& args, float* weights) noexcept {
  const std::int64_t macs = args.num_rows * args.num_tokens * args.width;
  // Four rows share every load of the kernel: split at multiples of it.
  const std::int64_t blocks = (args.num_rows + 3) / 4;
  const std::int64_t tasks =
      macs < kMinParallelMacs ? 1 : std::min<std::int64_t>(blocks, pool_.num_threads());
  auto run = [&](std::int64_t task, int thread) {
    const std::int64_t begin = blocks * task / tasks * 4;
    const std::int64_t end = std::min(args.num_rows, blocks * (task + 1) / tasks * 4);
    MergeAttentionArgs part = args;
    part.q += begin * args.ldq;
    part.o += begin * args.ldo;
    if (part.lse != nullptr) part.lse += begin;
    part.num_rows = end - begin;
    merge_->run(part, scratch_ + scratch_per_thread_ * static_cast<std::size_t>(thread));
    if (weights != nullptr) {
      merge_->weights(part, weights + begin * args.num_tokens, args.num_tokens);
    }
  };
  if (tasks == 1) {
    run(0, 0);
  } else {
    pool_.parallel_for(tasks, run);
  }
}

}  // namespace tokenfuse
