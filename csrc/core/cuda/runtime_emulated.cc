// runtime.h in the host's memory: every call is done before it returns.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "core/cuda/emulator.h"
#include "core/cuda/runtime.h"

namespace tokenfuse::cuda {
namespace {

constexpr std::size_t kDeviceAlignment = 256;

std::mutex memory_mutex;
std::size_t memory_limit = 0, memory_used = 0;
bool loops_decided = true;
DeviceInfo shown{"emulated", 80, 8, std::size_t{99} << 10, std::size_t{1} << 40};

void* take(std::size_t bytes) {
  const std::lock_guard<std::mutex> lock(memory_mutex);
  if (memory_limit != 0 && memory_used + bytes > memory_limit) {
    throw OutOfMemory(bytes, memory_limit - memory_used);
  }
  // No more than was asked, so that the address sanitizer sees the end.
  void* data = ::operator new(bytes, std::align_val_t{kDeviceAlignment});
  std::memset(data, 0xff, bytes);
  memory_used += bytes;
  return data;
}

void give(void* data, std::size_t bytes) noexcept {
  if (data == nullptr) return;
  const std::lock_guard<std::mutex> lock(memory_mutex);
  ::operator delete(data, std::align_val_t{kDeviceAlignment});
  memory_used -= bytes;
}

}  // namespace

namespace emulator {

void set_device(const DeviceInfo& info) { shown = info; }

void set_loops(bool decided) noexcept { loops_decided = decided; }

void set_memory_limit(std::size_t bytes) noexcept {
  const std::lock_guard<std::mutex> lock(memory_mutex);
  memory_limit = bytes;
}

}  // namespace emulator

int device_count() noexcept { return 1; }

DeviceInfo device_info(int device) {
  if (device != 0) throw CudaError("cudaGetDeviceProperties", "there is one device, 0");
  return shown;
}

bool has_code() { return true; }

CurrentDevice::CurrentDevice(int device) { device_info(device); }
CurrentDevice::~CurrentDevice() = default;

DeviceBuffer::DeviceBuffer(std::size_t bytes) : data_(take(bytes)), bytes_(bytes) {}
DeviceBuffer::~DeviceBuffer() { give(data_, bytes_); }
PinnedBuffer::PinnedBuffer(std::size_t bytes) : data_(take(bytes)), bytes_(bytes) {}
PinnedBuffer::~PinnedBuffer() { give(data_, bytes_); }

struct Graph::Body {
  std::vector<std::function<void()>> steps;
};

Stream::Stream() = default;
Stream::Stream(void* handle) noexcept : handle_(handle) {}
Stream::~Stream() = default;

namespace {

// Now, or with the graph that is being captured.
template <typename Work>
void ask(std::vector<std::function<void()>>* steps, Work work) {
  if (steps == nullptr) {
    work();
  } else {
    steps->push_back(std::move(work));
  }
}

}  // namespace

void Stream::launch(const KernelCall& call) {
  if (capturing_ == nullptr) {
    emulator::run(call);
    return;
  }
  // Arguments are copied, as a launch does.
  const auto* bytes = static_cast<const unsigned char*>(call.argument);
  auto copy = std::make_shared<std::vector<std::max_align_t>>(
      (call.argument_bytes + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
  std::memcpy(copy->data(), bytes, call.argument_bytes);
  capturing_->body_->steps.push_back([call, copy] {
    KernelCall again = call;
    again.argument = copy->data();
    emulator::run(again);
  });
}

void Stream::copy_to_device(void* to, const void* from, std::size_t bytes) {
  ask(capturing_ == nullptr ? nullptr : &capturing_->body_->steps,
      [=] { std::memcpy(to, from, bytes); });
}

void Stream::copy_to_host(void* to, const void* from, std::size_t bytes) {
  copy_to_device(to, from, bytes);
}

void Stream::copy_on_device(void* to, const void* from, std::size_t bytes) {
  copy_to_device(to, from, bytes);
}

void Stream::set_bytes(void* to, int value, std::size_t bytes) {
  ask(capturing_ == nullptr ? nullptr : &capturing_->body_->steps,
      [=] { std::memset(to, value, bytes); });
}

void Stream::loop(const int* flag, int most, const std::function<void(Stream&)>& body) {
  if (capturing_ == nullptr) {
    for (int i = 0; i < most && *flag != 0; ++i) body(*this);
    return;
  }
  if (!loops_decided) {
    for (int i = 0; i < most; ++i) body(*this);
    return;
  }
  Graph* outer = capturing_;
  auto inner = std::make_shared<Graph>();
  inner->body_ = std::make_unique<Graph::Body>();
  capturing_ = inner.get();
  body(*this);
  capturing_ = outer;
  outer->body_->steps.push_back([=] {
    for (int i = 0; i < most && *flag != 0; ++i) {
      for (const auto& step : inner->body_->steps) step();
    }
  });
}

void Stream::wait() {
  if (capturing_ != nullptr) {
    throw CudaError("cudaStreamSynchronize", "the stream is being captured");
  }
}

Graph::Graph() noexcept = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
bool Graph::empty() const noexcept { return body_ == nullptr; }

Graph Graph::capture(Stream& stream, const std::function<void(Stream&)>& record) {
  if (stream.capturing_ != nullptr) {
    throw CudaError("cudaStreamBeginCapture", "the stream is being captured");
  }
  Graph graph;
  graph.body_ = std::make_unique<Body>();
  stream.capturing_ = &graph;
  try {
    record(stream);
  } catch (...) {
    stream.capturing_ = nullptr;
    throw;
  }
  stream.capturing_ = nullptr;
  return graph;
}

void Graph::launch(Stream& stream) const {
  if (stream.capturing_ != nullptr) {
    throw CudaError("cudaGraphLaunch", "the stream is being captured");
  }
  for (const auto& step : body_->steps) step();
}

namespace {
double now_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
}  // namespace

Timer::Timer() : begin_(new double(0)), end_(new double(0)) {}
Timer::~Timer() {
  delete static_cast<double*>(begin_);
  delete static_cast<double*>(end_);
}
void Timer::begin(Stream&) { *static_cast<double*>(begin_) = now_ms(); }
void Timer::end(Stream&) { *static_cast<double*>(end_) = now_ms(); }
float Timer::milliseconds() {
  return static_cast<float>(*static_cast<double*>(end_) - *static_cast<double*>(begin_));
}

}  // namespace tokenfuse::cuda
