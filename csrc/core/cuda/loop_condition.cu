// For the GPU alone: in the emulator the host decides.
#include "core/cuda/device.h"
#include "core/cuda/launch.h"
#include "core/cuda/loop_condition.h"

namespace tokenfuse::cuda {
namespace {

TF_KERNEL void TF_LAUNCH_BOUNDS(kWarpSize, 1) loop_condition_kernel(LoopConditionArgs args) {
  if (thread_index() != 0) return;
  const int count = args.first ? 0 : *args.count + 1;
  *args.count = count;
  cudaGraphSetConditional(args.condition, count < args.most && *args.flag != 0 ? 1u : 0u);
}

}  // namespace

void loop_condition(Stream& stream, const LoopConditionArgs& args) {
  launch(stream, "loop_condition", loop_condition_kernel, {1}, kWarpSize, 0, args);
}

}  // namespace tokenfuse::cuda
