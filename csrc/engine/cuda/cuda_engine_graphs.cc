// The work of a shape on the engine's stream: asked for piece by piece, or kept as a graph.
#include <chrono>

#include "engine/cuda/cuda_engine.h"

namespace tokenfuse::cuda {

void CudaEngine::record_encode(int batch, int num_latents, bool map) {
  const std::int64_t size = config_.vision.image_size;
  const int tokens = static_cast<int>(config_.vision.num_tokens());
  images_.to_device(stream_, batch * size * size * 3);
  const float* x = image_encoder_.run(compute_, space_, images_.device, batch);
  image_resampler_.run(compute_, image_encoder_.norm(), x, batch, tokens, nullptr, num_latents,
                       f_.device, map ? map_.device : nullptr);
  f_.to_host(stream_, batch * num_latents * config_.fusion.width);
  if (map) map_.to_host(stream_, std::int64_t{batch} * num_latents * tokens);
}

const void* CudaEngine::record_fuse(int batch, int length, int num_latents) {
  const int most = options_.max_batch;
  const int *counts = texts_.device + 1, *ids = counts + most;
  texts_.to_device(stream_, 1 + most + std::int64_t{batch} * length);
  const float* text = text_encoder_.run(compute_, space_, ids, counts, batch, length);
  const void* fused = fusion_.run(compute_, space_, text_encoder_.norm(), text, counts, batch,
                                  length, f_.device, num_latents);
  decoder_.begin(compute_, fused, batch, num_latents);
  return fused;
}

void CudaEngine::record_generate(int batch, int length, int num_latents, bool from_host) {
  if (from_host) f_.to_device(stream_, batch * num_latents * config_.fusion.width);
  record_fuse(batch, length, num_latents);
  DecoderState state = state_;
  state.batch = batch;
  begin_answers(stream_, state);
  stream_.loop(state.active, state.max_tokens,
               [&](Stream&) { decoder_.step(compute_, space_, state, num_latents); });
  counts_.to_host(stream_, batch);
  ids_.to_host(stream_, std::int64_t{batch} * state.max_tokens);
  log_probs_.to_host(stream_, std::int64_t{batch} * state.max_tokens);
}

void CudaEngine::record(Work work, int batch, int length, int num_latents) {
  switch (work) {
    case Work::kEncode:
    case Work::kEncodeMap:
      record_encode(batch, num_latents, work == Work::kEncodeMap);
      break;
    case Work::kGenerate:
      record_generate(batch, length, num_latents, true);
      break;
    case Work::kAnswer:
      record_encode(batch, num_latents, false);
      record_generate(batch, length, num_latents, false);
  }
}

Graph CudaEngine::capture(Work work, int batch, int length, int num_latents) {
  return Graph::capture(stream_, [&](Stream&) { record(work, batch, length, num_latents); });
}

const Graph* CudaEngine::graph_of(Work work, int batch, int length, int num_latents) {
  if (!options_.graphs) return nullptr;
  const Shape shape{static_cast<int>(work), batch, length, num_latents};
  auto found = graphs_.find(shape);
  if (found == graphs_.end()) {
    found = graphs_.emplace(shape, capture(work, batch, length, num_latents)).first;
  }
  return &found->second;
}

void CudaEngine::run(Work work, int batch, int length, int num_latents) {
  const Graph* graph = graph_of(work, batch, length, num_latents);
  const auto launch = [&] {
    if (graph == nullptr) {
      record(work, batch, length, num_latents);
    } else {
      graph->launch(stream_);
    }
  };
  if (!timed_) {
    launch();
    stream_.wait();
    return;
  }
  using Clock = std::chrono::steady_clock;
  timer_.begin(stream_);
  const auto began = Clock::now();
  launch();
  const std::chrono::duration<float, std::milli> launched = Clock::now() - began;
  timer_.end(stream_);
  stream_.wait();
  times_ = {timer_.milliseconds(), launched.count()};
}

void CudaEngine::set_timed(bool timed) {
  const std::lock_guard<std::mutex> lock(mutex_);
  timed_ = timed;
}

CallTimes CudaEngine::last_times() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return times_;
}

void CudaEngine::record(int batch, int num_latents) {
  const Turn turn(mutex_);
  graph_of(Work::kEncode, batch, 0, num_latents);
  for (const int length : buckets_) {
    graph_of(Work::kGenerate, batch, length, num_latents);
    graph_of(Work::kAnswer, batch, length, num_latents);
  }
}

}  // namespace tokenfuse::cuda
