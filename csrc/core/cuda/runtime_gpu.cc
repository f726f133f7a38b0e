// runtime.h on CUDA: devices, memory, streams and timers. Graphs are in graph_gpu.cc.
//
// Nothing newer than CUDA 12.6, which is what JetPack 6 has. Objects belong to the device that is
// current where they are made.
#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "core/cuda/check_gpu.h"

namespace tokenfuse::cuda {
namespace {

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

// Before its first launch a kernel is loaded, and told the most shared memory that it will ask for:
// without that a launch gets 48 KB at most.
void prepare(const KernelCall& call) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, std::size_t> granted_bytes;
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  const std::lock_guard<std::mutex> lock(mutex);
  const std::pair<int, const void*> key{device, call.kernel};
  const auto found = granted_bytes.find(key);
  if (found != granted_bytes.end() && found->second >= call.shared_bytes) return;
  const BesideCapture beside;
  const cudaError_t error =
      cudaFuncSetAttribute(call.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(call.shared_bytes));
  if (error != cudaSuccess) {
    ignore(error);
    throw CudaError(call.name, std::to_string(call.shared_bytes) +
                                   " bytes of shared memory: " + cudaGetErrorString(error));
  }
  granted_bytes[key] = call.shared_bytes;
}

dim3 native(const Grid& grid) {
  return dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
              static_cast<unsigned>(grid.z));
}

void copy(const Stream& stream, void* to, const void* from, std::size_t bytes,
          cudaMemcpyKind kind) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(to, from, bytes, kind, native(stream)), "cudaMemcpyAsync");
}

}  // namespace

int device_count() noexcept {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  ignore(error);
  return error == cudaSuccess ? count : 0;
}

DeviceInfo device_info(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return {properties.name, properties.major * 10 + properties.minor, properties.multiProcessorCount,
          static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device)),
          properties.totalGlobalMem};
}

CurrentDevice::CurrentDevice(int device) {
  int now = 0;
  check(cudaGetDevice(&now), "cudaGetDevice");
  if (now == device) return;
  check(cudaSetDevice(device), "cudaSetDevice");
  before_ = now;
}

CurrentDevice::~CurrentDevice() {
  if (before_ >= 0) ignore(cudaSetDevice(before_));
}

// Never null, so that an empty buffer is told from an argument that is not there.
DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  const BesideCapture beside;
  check_memory(cudaMalloc(&data_, std::max<std::size_t>(bytes, 1)), "cudaMalloc", bytes);
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ == nullptr) return;
  const BesideCapture beside;
  ignore(cudaFree(data_));
}

PinnedBuffer::PinnedBuffer(std::size_t bytes) : bytes_(bytes) {
  const BesideCapture beside;
  const cudaError_t error = cudaMallocHost(&data_, std::max<std::size_t>(bytes, 1));
  if (error == cudaErrorMemoryAllocation) {
    // No OutOfMemory: that tells what the device has free, and this is the host's memory.
    ignore(error);
    throw CudaError("cudaMallocHost", "the host has no " + std::to_string(bytes) +
                                          " bytes of memory that stay in place");
  }
  check(error, "cudaMallocHost");
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ == nullptr) return;
  const BesideCapture beside;
  ignore(cudaFreeHost(data_));
}

Stream::Stream() : owned_(true) {
  cudaStream_t stream = nullptr;
  // Does not wait for the default stream, nor that for it.
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  handle_ = stream;
}

Stream::Stream(void* handle) noexcept : handle_(handle) {}

Stream::~Stream() {
  if (!owned_) return;
  const BesideCapture beside;
  ignore(cudaStreamDestroy(native(*this)));
}

void Stream::launch(const KernelCall& call) {
  check_call(call);
  prepare(call);
  void* arguments[] = {const_cast<void*>(call.argument)};
  check(cudaLaunchKernel(call.kernel, native(call.grid),
                         dim3(static_cast<unsigned>(call.num_threads)), arguments,
                         call.shared_bytes, native(*this)),
        call.name);
}

void Stream::copy_to_device(void* to, const void* from, std::size_t bytes) {
  copy(*this, to, from, bytes, cudaMemcpyHostToDevice);
}

void Stream::copy_to_host(void* to, const void* from, std::size_t bytes) {
  copy(*this, to, from, bytes, cudaMemcpyDeviceToHost);
}

void Stream::copy_on_device(void* to, const void* from, std::size_t bytes) {
  copy(*this, to, from, bytes, cudaMemcpyDeviceToDevice);
}

void Stream::set_bytes(void* to, int value, std::size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemsetAsync(to, value, bytes, native(*this)), "cudaMemsetAsync");
}

void Stream::wait() {
  // CUDA would refuse too, and spoil the capture.
  if (capturing_ != nullptr) {
    throw CudaError("cudaStreamSynchronize", "the stream is being captured");
  }
  check(cudaStreamSynchronize(native(*this)), "cudaStreamSynchronize");
}

Timer::Timer() {
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  const cudaError_t error = cudaEventCreate(&end);
  if (error != cudaSuccess) ignore(cudaEventDestroy(begin));
  check(error, "cudaEventCreate");
  begin_ = begin;
  end_ = end;
}

Timer::~Timer() {
  ignore(cudaEventDestroy(static_cast<cudaEvent_t>(begin_)));
  ignore(cudaEventDestroy(static_cast<cudaEvent_t>(end_)));
}

void Timer::begin(Stream& stream) {
  check(cudaEventRecord(static_cast<cudaEvent_t>(begin_), native(stream)), "cudaEventRecord");
}

void Timer::end(Stream& stream) {
  check(cudaEventRecord(static_cast<cudaEvent_t>(end_), native(stream)), "cudaEventRecord");
}

float Timer::milliseconds() {
  float milliseconds = 0;
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(end_)), "cudaEventSynchronize");
  check(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(begin_),
                             static_cast<cudaEvent_t>(end_)),
        "cudaEventElapsedTime");
  return milliseconds;
}

}  // namespace tokenfuse::cuda
