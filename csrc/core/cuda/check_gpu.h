// CUDA's error codes as CudaError, and what a call that may not come in the middle of a capture
// needs.
#pragma once

#include <cuda_runtime_api.h>

#include "core/cuda/runtime.h"

namespace tokenfuse::cuda {

inline void check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  // Else the next call would report it again.
  cudaGetLastError();
  throw CudaError(call, cudaGetErrorString(error));
}

// For destructors: there is nobody to tell.
inline void ignore(cudaError_t error) noexcept {
  if (error != cudaSuccess) cudaGetLastError();
}

// Of a call that takes device memory.
inline void check_memory(cudaError_t error, const char* call, std::size_t bytes) {
  if (error == cudaErrorMemoryAllocation) {
    ignore(error);
    std::size_t free_bytes = 0, all_bytes = 0;
    ignore(cudaMemGetInfo(&free_bytes, &all_bytes));
    throw OutOfMemory(bytes, free_bytes);
  }
  check(error, call);
}

inline cudaStream_t native(const Stream& stream) noexcept {
  return static_cast<cudaStream_t>(stream.handle());
}

// While it lives, this thread may allocate, free and load although one of its streams is being
// captured: these do not touch that stream, and would end its capture otherwise.
class BesideCapture {
 public:
  BesideCapture() noexcept { ignore(cudaThreadExchangeStreamCaptureMode(&mode_)); }
  ~BesideCapture() { ignore(cudaThreadExchangeStreamCaptureMode(&mode_)); }
  BesideCapture(const BesideCapture&) = delete;
  BesideCapture& operator=(const BesideCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace tokenfuse::cuda
