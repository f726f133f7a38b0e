// What the host asks of a GPU: memory, streams, launches, graphs. Two files have it: runtime_gpu.cc
// calls CUDA, runtime_emulated.cc does the same in the host's memory, for tests.
//
// Every failure is a CudaError that names the call; nothing aborts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

namespace tokenfuse::cuda {

class CudaError : public std::runtime_error {
 public:
  CudaError(const std::string& call, const std::string& what)
      : std::runtime_error(call + ": " + what) {}
};

// The device has not the memory; says how much was asked and how much was free.
class OutOfMemory : public CudaError {
 public:
  OutOfMemory(std::size_t asked_bytes, std::size_t free_bytes);
  std::size_t asked_bytes() const noexcept { return asked_; }
  std::size_t free_bytes() const noexcept { return free_; }

 private:
  std::size_t asked_, free_;
};

struct DeviceInfo {
  std::string name;
  int compute_capability;  // 87 for 8.7
  int num_multiprocessors;
  std::size_t shared_bytes_per_block;  // the most a launch may ask for
  std::size_t memory_bytes;
};

// 0 where there is no driver or no device.
int device_count() noexcept;
DeviceInfo device_info(int device);
// Whether this build has code for the current device. Throws CudaError.
bool has_code();

// While it lives, this thread works on that device: which one is current is a matter of each
// thread, and of all libraries in it. Throws CudaError.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int before_ = -1;  // below 0: the same
};

// Device memory, 256-byte aligned, freed with the object.
class DeviceBuffer {
 public:
  DeviceBuffer() noexcept = default;
  explicit DeviceBuffer(std::size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept;
  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Host memory that the device copies from and to without a detour.
class PinnedBuffer {
 public:
  PinnedBuffer() noexcept = default;
  explicit PinnedBuffer(std::size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;
  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

struct Grid {
  int x = 1, y = 1, z = 1;
};

// A kernel with its one argument, as `launch` (launch.h) makes it of a typed one.
struct KernelCall {
  const void* kernel;
  // In the emulator: calls the kernel, whose type this knows. Null on a GPU.
  void (*run)(const void* kernel, const void* argument);
  const void* argument;
  std::size_t argument_bytes;
  Grid grid;
  int num_threads;
  std::size_t shared_bytes;
  const char* name;
};

// Throws CudaError where no device would take the call.
void check_call(const KernelCall& call);

class Graph;

// Work in order. While one is being captured (Graph::capture), what is asked of it is kept instead
// of done, and nothing may be waited for.
class Stream {
 public:
  Stream();
  // Somebody else's cudaStream_t, not destroyed with the object.
  explicit Stream(void* handle) noexcept;
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  void* handle() const noexcept { return handle_; }

  void launch(const KernelCall& call);
  void copy_to_device(void* to, const void* from, std::size_t bytes);
  void copy_to_host(void* to, const void* from, std::size_t bytes);
  void copy_on_device(void* to, const void* from, std::size_t bytes);
  void set_bytes(void* to, int value, std::size_t bytes);
  // Does body(stream) while *flag, an int of the device, is not 0, and at most `most` times. While
  // capturing, the device decides; where its driver cannot (CUDA before 12.4), the body comes
  // `most` times: it must do no harm once the flag is 0.
  void loop(const int* flag, int most, const std::function<void(Stream&)>& body);
  void wait();

 private:
  friend class Graph;
  void* handle_ = nullptr;
  bool owned_ = false;
  Graph* capturing_ = nullptr;
};

// Work recorded once and launched often.
class Graph {
 public:
  // Calls record(stream) while the stream keeps what it is asked. Addresses and arguments are those
  // of the recording: what changes between launches is read from device memory.
  static Graph capture(Stream& stream, const std::function<void(Stream&)>& record);
  Graph() noexcept;
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  bool empty() const noexcept;
  void launch(Stream& stream) const;

 private:
  friend class Stream;
  struct Body;
  std::unique_ptr<Body> body_;
};

// Between two points of a stream.
class Timer {
 public:
  Timer();
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  void begin(Stream& stream);
  void end(Stream& stream);
  // Waits for the end.
  float milliseconds();

 private:
  void* begin_ = nullptr;
  void* end_ = nullptr;
};

}  // namespace tokenfuse::cuda
