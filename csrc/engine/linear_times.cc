#include "engine/linear_times.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <new>

namespace tokenfuse {
namespace {

// The first fills caches and is not counted.
constexpr std::size_t kMinRounds = 4;

Packing packing_of(Precision precision, Isa isa) noexcept {
  return {&linear_kernel(isa), precision == Precision::kInt8 ? &linear_int8_kernel(isa) : nullptr,
          quantize_kernel(isa), precision == Precision::kBf16 ? &linear_bf16_kernel(isa) : nullptr};
}

// Any values of ordinary size: what a product takes does not depend on them.
std::vector<float> pattern(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i * 29 % 61) / 61.0f - 0.5f;
  }
  return values;
}

template <typename Args>
Args args_of(const LinearShape& shape, float* y) noexcept {
  Args args{};
  args.y = y;
  args.ldy = args.n = shape.num_out;
  args.m = shape.rows;
  args.k = shape.num_in;
  args.activation = Activation::kGelu;
  return args;
}

}  // namespace

TimedLinear::TimedLinear(Precision precision, Isa isa, const LinearShape& shape,
                         const std::vector<float>& weight_NK)
    : precision_(precision), packing_(packing_of(precision, isa)), shape_(shape) {
  Arena plan;
  layout(plan, weight_NK);
  arena_ = std::make_unique<Arena>(plan.peak_bytes());
  if (!arena_->ok()) throw std::bad_alloc();
  layout(*arena_, weight_NK);
}

void TimedLinear::layout(Arena& arena, const std::vector<float>& weight_NK) {
  const TensorMap no_tensors;
  weights_ = Loader(no_tensors, packing_, arena).pack(weight_NK, {}, shape_.num_in, shape_.num_out);
  if (precision_ == Precision::kBf16) {
    bf16_scratch_ = arena.bytes(
        linear_bf16_scratch_bytes(*packing_.bf16, shape_.rows, shape_.num_in, pool_.num_threads()));
  }
  if (precision_ != Precision::kInt8) return;
  const auto rows = static_cast<std::size_t>(shape_.rows);
  quantized_.ldq = int8_padded(shape_.num_in);
  const auto bytes = static_cast<std::size_t>(quantized_.ldq);
  quantized_.q = static_cast<std::int8_t*>(arena.bytes(rows * bytes));
  quantized_.scale = arena.floats(rows);
  quantized_.sum = static_cast<std::int32_t*>(arena.bytes(rows * sizeof(std::int32_t)));
}

void TimedLinear::run(const float* x, float* y) noexcept {
  if (precision_ == Precision::kInt8) {
    auto args = args_of<LinearInt8Args>(shape_, y);
    args.packed = weights_.packed_int8;
    args.weight_scale = weights_.scale;
    linear_int8(*packing_.int8, packing_.quantize, x, shape_.num_in, quantized_, args, pool_);
    return;
  }
  if (precision_ == Precision::kBf16) {
    auto args = args_of<LinearBf16Args>(shape_, y);
    args.x = x;
    args.ldx = shape_.num_in;
    args.packed = weights_.packed_bf16;
    linear_bf16(*packing_.bf16, args, bf16_scratch_, pool_);
    return;
  }
  auto args = args_of<LinearArgs>(shape_, y);
  args.x = x;
  args.ldx = shape_.num_in;
  args.packed = weights_.packed;
  linear(*packing_.kernel, args, pool_);
}

std::vector<double> time_linears(const std::vector<Precision>& precisions, const LinearShape& shape,
                                 Isa isa, double budget_seconds) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  const std::vector<float> weight_NK = pattern(shape.num_out * shape.num_in);
  const std::vector<float> x = pattern(shape.rows * shape.num_in);
  std::vector<float> y(static_cast<std::size_t>(shape.rows * shape.num_out));
  std::vector<std::unique_ptr<TimedLinear>> layers;
  for (const Precision precision : precisions) {
    layers.push_back(std::make_unique<TimedLinear>(precision, isa, shape, weight_NK));
  }
  std::vector<double> least(layers.size(), std::numeric_limits<double>::infinity());
  const auto began = Clock::now();
  for (std::size_t round = 0; round < kMinRounds || seconds_since(began) < budget_seconds;
       ++round) {
    for (std::size_t turn = 0; turn < layers.size(); ++turn) {
      // Another one first in each round: what runs before leaves its traces in the caches.
      const std::size_t i = (round + turn) % layers.size();
      const auto begin = Clock::now();
      layers[i]->run(x.data(), y.data());
      const double taken = seconds_since(begin);
      if (round > 0) least[i] = std::min(least[i], taken);
    }
  }
  return least;
}

}  // namespace tokenfuse
