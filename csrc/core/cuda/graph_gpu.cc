// Graphs of runtime.h on CUDA: work is recorded by capturing a stream, a loop as a conditional
// node.
#include <utility>
#include <vector>

#include "core/cuda/check_gpu.h"
#include "core/cuda/loop_condition.h"

namespace tokenfuse::cuda {

struct Graph::Body {
  Body() = default;
  ~Body() {
    if (exec == nullptr) return;
    const BesideCapture beside;
    ignore(cudaGraphExecDestroy(exec));
  }
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;

  cudaGraphExec_t exec = nullptr;
  std::vector<DeviceBuffer> counts;  // of the loops
};

namespace {

// CUDA 12.4 brought loops that the device decides.
constexpr int kLoopsSince = 12040;

struct Recorded {
  Recorded() = default;
  ~Recorded() {
    if (graph != nullptr) ignore(cudaGraphDestroy(graph));
  }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;
  cudaGraph_t graph = nullptr;
};

// What a stream has recorded until now.
struct Capture {
  cudaGraph_t graph;
  const cudaGraphNode_t* last;  // what comes next depends on these; valid until the next call
  std::size_t num_last;
};

Capture capture_of(cudaStream_t stream) {
  Capture capture{};
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
#if CUDART_VERSION >= 13000
  const cudaError_t error = cudaStreamGetCaptureInfo(stream, &status, nullptr, &capture.graph,
                                                     &capture.last, nullptr, &capture.num_last);
#else
  const cudaError_t error = cudaStreamGetCaptureInfo_v2(stream, &status, nullptr, &capture.graph,
                                                        &capture.last, &capture.num_last);
#endif
  check(error, "cudaStreamGetCaptureInfo");
  if (status != cudaStreamCaptureStatusActive) {
    throw CudaError("cudaStreamGetCaptureInfo", "an earlier error ended the capture");
  }
  return capture;
}

// A node behind all that the stream has recorded, and before all that comes. Returns the graph that
// it does while the condition holds.
cudaGraph_t add_loop(cudaStream_t stream, cudaGraphConditionalHandle condition) {
  cudaGraphNodeParams params{};
  params.type = cudaGraphNodeTypeConditional;
  params.conditional.handle = condition;
  params.conditional.type = cudaGraphCondTypeWhile;
  params.conditional.size = 1;
  cudaGraphNode_t node = nullptr;
  const Capture capture = capture_of(stream);
#if CUDART_VERSION >= 13000
  check(cudaGraphAddNode(&node, capture.graph, capture.last, nullptr, capture.num_last, &params),
        "cudaGraphAddNode");
  check(cudaStreamUpdateCaptureDependencies(stream, &node, nullptr, 1,
                                            cudaStreamSetCaptureDependencies),
        "cudaStreamUpdateCaptureDependencies");
#else
  check(cudaGraphAddNode(&node, capture.graph, capture.last, capture.num_last, &params),
        "cudaGraphAddNode");
  check(cudaStreamUpdateCaptureDependencies(stream, &node, 1, cudaStreamSetCaptureDependencies),
        "cudaStreamUpdateCaptureDependencies");
#endif
  return params.conditional.phGraph_out[0];
}

// While it lives, what `handle` is asked goes to the graph `into`: a stream that is being captured
// can record nowhere else, so another one takes its place.
class Inside {
 public:
  Inside(void*& handle, cudaGraph_t into) : handle_(handle), outer_(handle) {
    {
      const BesideCapture beside;
      check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking),
            "cudaStreamCreateWithFlags");
    }
    const cudaError_t error = cudaStreamBeginCaptureToGraph(stream_, into, nullptr, nullptr, 0,
                                                            cudaStreamCaptureModeThreadLocal);
    if (error != cudaSuccess) destroy();
    check(error, "cudaStreamBeginCaptureToGraph");
    handle_ = stream_;
  }
  ~Inside() {
    if (stream_ == nullptr) return;
    ignore(leave());
    destroy();
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

  void end() {
    const cudaError_t error = leave();
    destroy();
    check(error, "cudaStreamEndCapture");
  }

 private:
  cudaError_t leave() noexcept {
    handle_ = outer_;
    // The node's, who frees it.
    cudaGraph_t into = nullptr;
    return cudaStreamEndCapture(stream_, &into);
  }
  void destroy() noexcept {
    const BesideCapture beside;
    ignore(cudaStreamDestroy(std::exchange(stream_, nullptr)));
  }

  void*& handle_;
  void* outer_;
  cudaStream_t stream_ = nullptr;
};

// False where the driver or the device has no conditional nodes.
bool create_condition(cudaStream_t stream, cudaGraphConditionalHandle& condition) {
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  if (driver < kLoopsSince) return false;
  const cudaError_t error =
      cudaGraphConditionalHandleCreate(&condition, capture_of(stream).graph, 0, 0);
  if (error == cudaErrorNotSupported) {
    ignore(error);
    return false;
  }
  check(error, "cudaGraphConditionalHandleCreate");
  return true;
}

}  // namespace

void Stream::loop(const int* flag, int most, const std::function<void(Stream&)>& body) {
  if (capturing_ == nullptr) {
    for (int i = 0; i < most; ++i) {
      int on = 0;
      copy_to_host(&on, flag, sizeof(on));
      wait();
      if (on == 0) return;
      body(*this);
    }
    return;
  }
  cudaGraphConditionalHandle condition{};
  if (!create_condition(native(*this), condition)) {
    for (int i = 0; i < most; ++i) body(*this);
    return;
  }
  auto& counts = capturing_->body_->counts;
  counts.emplace_back(sizeof(int));
  auto* count = static_cast<int*>(counts.back().data());
  loop_condition(*this, {condition, flag, count, most, true});
  Inside inside(handle_, add_loop(native(*this), condition));
  body(*this);
  loop_condition(*this, {condition, flag, count, most, false});
  inside.end();
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
  // Of this thread alone: others may allocate meanwhile.
  check(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
  stream.capturing_ = &graph;
  Recorded recorded;
  try {
    record(stream);
  } catch (...) {
    stream.capturing_ = nullptr;
    ignore(cudaStreamEndCapture(native(stream), &recorded.graph));
    throw;
  }
  stream.capturing_ = nullptr;
  check(cudaStreamEndCapture(native(stream), &recorded.graph), "cudaStreamEndCapture");
  check(cudaGraphInstantiate(&graph.body_->exec, recorded.graph, 0), "cudaGraphInstantiate");
  // Now and not with the first launch, which somebody waits for.
  check(cudaGraphUpload(graph.body_->exec, native(stream)), "cudaGraphUpload");
  return graph;
}

void Graph::launch(Stream& stream) const {
  if (stream.capturing_ != nullptr) {
    throw CudaError("cudaGraphLaunch", "the stream is being captured");
  }
  check(cudaGraphLaunch(body_->exec, native(stream)), "cudaGraphLaunch");
}

}  // namespace tokenfuse::cuda
