#include "engine/linear_times.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <new>

namespace tokenfuse {
namespace {

// The first fills caches and is not counted.
constexpr std::size_t kMinRounds = 4;

// Any values of ordinary size: what a product takes does not depend on them.
std::vector<float> pattern(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i * 29 % 61) / 61.0f - 0.5f;
  }
  return values;
}

}  // namespace

TimedLinear::TimedLinear(Precision precision, Isa isa, const LinearShape& shape,
                         const std::vector<float>& weight_NK)
    : compute_(isa, precision, 1), shape_(shape) {
  Arena plan;
  layout(plan, weight_NK);
  arena_ = std::make_unique<Arena>(plan.peak_bytes());
  if (!arena_->ok()) throw std::bad_alloc();
  layout(*arena_, weight_NK);
}

void TimedLinear::layout(Arena& arena, const std::vector<float>& weight_NK) {
  const TensorMap no_tensors;
  weights_ = Loader(no_tensors, compute_.packing(), arena, compute_.pool())
                 .pack(weight_NK, {}, shape_.num_in, shape_.num_out);
  compute_.layout(arena, 0, 0, shape_.rows, shape_.num_in);
}

void TimedLinear::run(const float* x, float* y) noexcept {
  // Only read.
  const View from{const_cast<float*>(x), shape_.num_in};
  compute_.linear(weights_, from, {y, shape_.num_out}, shape_.rows, Activation::kGelu);
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
