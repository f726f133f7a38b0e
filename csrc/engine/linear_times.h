// One dense layer in several precisions, timed on this machine: which is the fastest is measured,
// not guessed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/arena.h"
#include "core/isa.h"
#include "engine/compute.h"

namespace tokenfuse {

struct LinearShape {
  std::int64_t rows, num_in, num_out;
};

// y = gelu(x W^T), the first layer of an MLP, as the engine computes it: packed once, x quantised
// or rounded at every call. With its GELU, as that is cheaper beside an 8-bit product. On one
// thread: new ones begin on the CPU of the one that started them, and for some milliseconds their
// times are those of the scheduler. (On a 2-core Zen 5 forced to AVX2, 60 probes of 2 ms with 2
// threads chose bf16 as often as fp32, and with one thread always fp32.)
class TimedLinear {
 public:
  // `weight_NK`: num_out rows of num_in. Throws std::bad_alloc.
  TimedLinear(Precision precision, Isa isa, const LinearShape& shape,
              const std::vector<float>& weight_NK);

  // x: `rows` rows of num_in; y: `rows` rows of num_out.
  void run(const float* x, float* y) noexcept;

 private:
  void layout(Arena& arena, const std::vector<float>& weight_NK);

  Compute compute_;
  LinearShape shape_;
  PackedLinear weights_;
  std::unique_ptr<Arena> arena_;
};

// The least seconds of one call for each precision, in the order given. The precisions take turns,
// a few at least and then until `budget_seconds` are over.
// Throws std::bad_alloc.
std::vector<double> time_linears(const std::vector<Precision>& precisions, const LinearShape& shape,
                                 Isa isa, double budget_seconds);

}  // namespace tokenfuse
