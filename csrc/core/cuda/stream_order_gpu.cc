// stream_order.h on CUDA: the driver's memory pool, and events.
#include <algorithm>

#include "core/cuda/check_gpu.h"
#include "core/cuda/stream_order.h"

namespace tokenfuse::cuda {
namespace {

bool has_pool() {
  int device = 0, pools = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&pools, cudaDevAttrMemoryPoolsSupported, device),
        "cudaDeviceGetAttribute");
  return pools != 0;
}

}  // namespace

StreamBuffer::StreamBuffer(std::size_t bytes, const Stream& stream) : stream_(stream.handle()) {
  if (!has_pool()) {
    plain_ = DeviceBuffer(bytes);
    data_ = plain_.data();
    return;
  }
  check_memory(cudaMallocAsync(&data_, std::max<std::size_t>(bytes, 1), native(stream)),
               "cudaMallocAsync", bytes);
}

StreamBuffer::~StreamBuffer() {
  if (plain_.data() != nullptr) return;
  ignore(cudaFreeAsync(data_, static_cast<cudaStream_t>(stream_)));
}

void wait_for(const Stream& stream, void* other) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  cudaError_t error = cudaEventRecord(event, static_cast<cudaStream_t>(other));
  if (error == cudaSuccess) error = cudaStreamWaitEvent(native(stream), event, 0);
  // CUDA keeps it until it was waited for.
  ignore(cudaEventDestroy(event));
  check(error, "cudaStreamWaitEvent");
}

}  // namespace tokenfuse::cuda
