// log_sum_exp on a GPU: of each row of float32 logits the place of the largest (the first of
// equals), and the log-probability of it or of a given place: x - log sum exp(x)
//
// Contract: device addresses; `given` null or M ints in [0, N); top null or M ints; log_prob M
// floats. N >= 1. Rows with NaN give NaN.
#pragma once

#include <cstdint>

#include "core/cuda/runtime.h"

namespace tokenfuse::cuda {

struct LogSumExpArgs {
  const float* x;
  std::int64_t ldx;
  const int* given;
  int* top;
  float* log_prob;
  int m, n;
};

void log_sum_exp(Stream& stream, const LogSumExpArgs& args);

}  // namespace tokenfuse::cuda
