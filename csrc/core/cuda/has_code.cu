// Which GPUs this build has code for, by a kernel that does nothing: all are compiled for the same.
// For the GPU alone: the emulator has no such question.
#include "core/cuda/check_gpu.h"
#include "core/cuda/device.h"

namespace tokenfuse::cuda {
namespace {

TF_KERNEL void TF_LAUNCH_BOUNDS(kWarpSize, 1) has_code_kernel(int) {}

}  // namespace

bool has_code() {
  cudaFuncAttributes attributes;
  const cudaError_t error =
      cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(has_code_kernel));
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction) {
    ignore(error);
    return false;
  }
  check(error, "cudaFuncGetAttributes");
  return true;
}

}  // namespace tokenfuse::cuda
