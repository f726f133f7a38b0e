#include "bind/cuda/bind_cuda.h"

// The emulator's module, for tests, has a name of its own: it must never be taken for a GPU.
#ifndef TOKENFUSE_CUDA_MODULE
#define TOKENFUSE_CUDA_MODULE _cuda
#endif

PYBIND11_MODULE(TOKENFUSE_CUDA_MODULE, module) {
  module.doc() = "CUDA kernels and engine of tokenfuse; the public API is tokenfuse_sdk.";
  tokenfuse::cuda::bind_device(module);
  tokenfuse::cuda::bind_arrays(module);
  tokenfuse::cuda::bind_ops(module);
  tokenfuse::cuda::bind_attention_ops(module);
  tokenfuse::cuda::bind_engine(module);
}
