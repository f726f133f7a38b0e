// Of a loop that the device decides (Stream::loop): whether its body comes again.
#pragma once

#include <cuda_runtime_api.h>

#include "core/cuda/runtime.h"

namespace tokenfuse::cuda {

struct LoopConditionArgs {
  cudaGraphConditionalHandle condition;
  const int* flag;
  int* count;  // of the bodies that are done
  int most;
  bool first;  // before the first body
};

void loop_condition(Stream& stream, const LoopConditionArgs& args);

}  // namespace tokenfuse::cuda
