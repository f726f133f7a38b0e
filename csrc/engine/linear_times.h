// One dense layer in several precisions, timed on this machine: which is the fastest is measured,
// not guessed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/arena.h"
#include "core/isa.h"
#include "core/thread_pool.h"
#include "engine/compute.h"

namespace tokenfuse {

struct LinearShape {
  std::int64_t rows, num_in, num_out;
};

// y = gelu(x W^T), the first layer of an MLP, as the engine computes it: packed once, x quantised
// or rounded at every call. With its GELU, as that is cheaper beside an 8-bit product. The threads
// come with the call, so that layers that are compared share them: workers of a second pool would
// still spin when it is the first one's turn.
class TimedLinear {
 public:
  // `weight_NK`: num_out rows of num_in. Throws std::bad_alloc.
  TimedLinear(Precision precision, Isa isa, const LinearShape& shape,
              const std::vector<float>& weight_NK, int num_threads);

  // x: `rows` rows of num_in; y: `rows` rows of num_out. `pool` has the number of threads that
  // was given.
  void run(const float* x, float* y, ThreadPool& pool) noexcept;

 private:
  void layout(Arena& arena, const std::vector<float>& weight_NK, int num_threads);

  Precision precision_;
  Packing packing_;
  LinearShape shape_;
  PackedLinear weights_;
  QuantizedRows quantized_{};
  void* bf16_scratch_ = nullptr;
  std::unique_ptr<Arena> arena_;
};

// The least seconds of one call for each precision, in the order given. The precisions take turns,
// a few at least and then until `budget_seconds` are over.
// Throws std::bad_alloc; std::system_error where the system refuses a thread.
std::vector<double> time_linears(const std::vector<Precision>& precisions, const LinearShape& shape,
                                 Isa isa, int num_threads, double budget_seconds);

}  // namespace tokenfuse
