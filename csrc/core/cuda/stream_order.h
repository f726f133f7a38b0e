// What arrays need that are shared with other libraries: memory and order by streams alone, so that
// nothing waits on the host. stream_order_gpu.cc has it for CUDA, stream_order_emulated.cc for
// tests.
#pragma once

#include <cstddef>

#include "core/cuda/runtime.h"

namespace tokenfuse::cuda {

// Device memory that is taken, and given back, in the order of a stream, which must outlive it.
// Where the device cannot do that (cudaMallocAsync), a DeviceBuffer.
class StreamBuffer {
 public:
  StreamBuffer(std::size_t bytes, const Stream& stream);
  ~StreamBuffer();
  StreamBuffer(const StreamBuffer&) = delete;
  StreamBuffer& operator=(const StreamBuffer&) = delete;
  void* data() const noexcept { return data_; }

 private:
  void* data_ = nullptr;
  void* stream_ = nullptr;
  DeviceBuffer plain_;  // of devices that cannot
};

// What `stream` is asked from now on comes behind what `other`, a cudaStream_t, was asked until
// now.
void wait_for(const Stream& stream, void* other);

}  // namespace tokenfuse::cuda
