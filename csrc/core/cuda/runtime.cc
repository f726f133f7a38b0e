// Of runtime.h what a GPU and the emulator have in common.
#include "core/cuda/runtime.h"

#include <utility>

namespace tokenfuse::cuda {

void check_call(const KernelCall& call) {
  constexpr int kLanes = 32, kMostThreads = 1024, kMostRows = 65535;
  const Grid& grid = call.grid;
  if (call.num_threads >= kLanes && call.num_threads <= kMostThreads &&
      call.num_threads % kLanes == 0 && grid.x >= 1 && grid.y >= 1 && grid.z >= 1 &&
      grid.y <= kMostRows && grid.z <= kMostRows) {
    return;
  }
  throw CudaError(call.name, "invalid configuration: " + std::to_string(call.num_threads) +
                                 " threads, grid " + std::to_string(grid.x) + " x " +
                                 std::to_string(grid.y) + " x " + std::to_string(grid.z));
}

OutOfMemory::OutOfMemory(std::size_t asked_bytes, std::size_t free_bytes)
    : CudaError("cudaMalloc", "out of memory: asked for " + std::to_string(asked_bytes) +
                                  " bytes, " + std::to_string(free_bytes) + " were free"),
      asked_(asked_bytes),
      free_(free_bytes) {}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

DeviceBuffer& DeviceBuffer::operator=(DeviceBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace tokenfuse::cuda
