#include "engine/cuda/cuda_engine.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/log_sum_exp/cuda.h"

namespace tokenfuse::cuda {
namespace {

constexpr std::int64_t kMaxHeadDim = 128;
constexpr std::int64_t kMaxMergeWidth = 1024;
// The shortest text bucket; each further one is twice as long. Scenes' questions have about 10 ids.
constexpr int kLeastBucket = 16;

void check_heads(const char* name, std::int64_t width, std::int64_t num_heads) {
  const std::int64_t head_dim = width / num_heads;
  if (head_dim * num_heads != width || head_dim % 8 != 0 || head_dim > kMaxHeadDim) {
    throw std::invalid_argument(std::string(name) + " has heads of " + std::to_string(head_dim) +
                                "; the CUDA engine has multiples of 8, up to " +
                                std::to_string(kMaxHeadDim));
  }
}

const ModelConfig& supported_here(const ModelConfig& config) {
  supported(config);
  check_heads("vision", config.vision.width, config.vision.num_heads);
  check_heads("text", config.text.num_heads * config.text.head_dim, config.text.num_heads);
  check_heads("fusion", config.fusion.width, config.fusion.num_heads);
  check_heads("decoder", config.decoder.num_heads * config.decoder.head_dim,
              config.decoder.num_heads);
  if (config.vision.width > kMaxMergeWidth) {
    throw std::invalid_argument("vision.width is " + std::to_string(config.vision.width) +
                                "; the CUDA engine merges tokens of at most " +
                                std::to_string(kMaxMergeWidth));
  }
  for (const std::int64_t width : config.vision.stem_widths) {
    if (width % 8 != 0) {
      throw std::invalid_argument("vision.stem_widths has " + std::to_string(width) +
                                  "; the CUDA engine has multiples of 8");
    }
  }
  return config;
}

}  // namespace

CudaEngine::CudaEngine(const ModelConfig& config, const TensorMap& tensors,
                       const EngineOptions& options)
    : config_(supported_here(config)), options_(options) {
  if (options.max_batch < 1) throw std::invalid_argument("max_batch: need 1 or more");
  compute_ = {&stream_, device_info(kDevice), options.type, nullptr};
  for (int length = kLeastBucket; length < config_.text.max_tokens; length *= 2) {
    buckets_.push_back(length);
  }
  buckets_.push_back(static_cast<int>(config_.text.max_tokens));

  ThreadPool pool(default_num_threads());
  DeviceArena planned_weights;
  Loader plan(tensors, options.type, planned_weights, stream_, pool);
  load(plan);
  weights_ = std::make_unique<DeviceArena>(planned_weights.peak_bytes());
  Loader loader(tensors, options.type, *weights_, stream_, pool);
  load(loader);
  Tensors(tensors).release_pages();

  image_encoder_.need(space_, options.max_batch);
  text_encoder_.need(space_, options.max_batch);
  fusion_.need(space_, options.max_batch);
  decoder_.need(space_, options.max_batch);
  DeviceArena planned_workspace;
  layout(planned_workspace);
  pinned_ = PinnedBuffer(std::exchange(pinned_bytes_, 0));
  workspace_ = std::make_unique<DeviceArena>(planned_workspace.peak_bytes());
  layout(*workspace_);
  current_.reset();
}

void CudaEngine::load(Loader& loader) {
  image_encoder_.load(loader, config_.vision);
  image_resampler_.load(loader, config_.fusion, "image_projection", "fusion.image_resampler",
                        config_.vision.width, config_.vision.num_tokens(), true);
  text_encoder_.load(loader, config_.text);
  fusion_.load(loader, config_);
  decoder_.load(loader, config_, text_encoder_.embedding());
}

template <typename T>
void CudaEngine::take(DeviceArena& arena, Mirror<T>& mirror, std::int64_t count) {
  mirror.device = arena.many<T>(count);
  mirror.count = count;
  auto* base = static_cast<unsigned char*>(pinned_.data());
  mirror.host = base == nullptr ? nullptr : reinterpret_cast<T*>(base + pinned_bytes_);
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
  pinned_bytes_ +=
      (bytes + DeviceArena::kAlignment - 1) / DeviceArena::kAlignment * DeviceArena::kAlignment;
}

void CudaEngine::layout(DeviceArena& arena) {
  const std::int64_t batch = options_.max_batch, size = config_.vision.image_size;
  const std::int64_t latents = config_.fusion.num_latents, longest = config_.decoder.max_tokens;
  take(arena, images_, batch * size * size * 3);
  take(arena, f_, batch * latents * config_.fusion.width);
  take(arena, map_, batch * latents * config_.vision.num_tokens());
  take(arena, texts_, 1 + batch + batch * config_.text.max_tokens);
  take(arena, counts_, batch);
  take(arena, ids_, batch * longest);
  take(arena, log_probs_, batch * longest);
  const std::int64_t rows = std::max(batch, longest);
  take(arena, fed_, rows);
  take(arena, expected_, rows);
  take(arena, row_log_probs_, rows);
  // The logits of one answer; on the device they are the decoder's.
  logits_.count = longest * config_.text.vocab_size;
  auto* base = static_cast<unsigned char*>(pinned_.data());
  logits_.host = base == nullptr ? nullptr : reinterpret_cast<float*>(base + pinned_bytes_);
  pinned_bytes_ += static_cast<std::size_t>(logits_.count) * sizeof(float);

  state_ = {arena.many<int>(1),
            arena.many<int>(1),
            texts_.device,
            arena.many<int>(batch),
            counts_.device,
            ids_.device,
            log_probs_.device,
            0,
            static_cast<int>(longest),
            ModelConfig::kStartId,
            ModelConfig::kEosId};
  space_.layout(arena);
  compute_.normed = space_.normed;
  // Pictures and questions are never in work together: they share the rest.
  const int most = options_.max_batch;
  const std::size_t mark = arena.mark();
  image_encoder_.layout(arena, most);
  image_resampler_.layout(arena, compute_.device, options_.type, most);
  arena.release(mark);
  text_encoder_.layout(arena, most);
  fusion_.layout(arena, compute_.device, options_.type, most);
  decoder_.layout(arena, most);
}

namespace {

template <typename Mirror>
void to_device(Stream& stream, const Mirror& mirror, std::int64_t count) {
  stream.copy_to_device(mirror.device, mirror.host,
                        static_cast<std::size_t>(count) * sizeof(*mirror.host));
}

template <typename Mirror>
void to_host(Stream& stream, const Mirror& mirror, std::int64_t count) {
  stream.copy_to_host(mirror.host, mirror.device,
                      static_cast<std::size_t>(count) * sizeof(*mirror.host));
}

}  // namespace

void CudaEngine::record_encode(int batch, int num_latents, bool map, bool to_host_too) {
  const std::int64_t size = config_.vision.image_size;
  const int tokens = static_cast<int>(config_.vision.num_tokens());
  to_device(stream_, images_, batch * size * size * 3);
  const float* x = image_encoder_.run(compute_, space_, images_.device, batch);
  image_resampler_.run(compute_, image_encoder_.norm(), x, batch, tokens, nullptr, num_latents,
                       f_.device, map ? map_.device : nullptr);
  if (to_host_too) to_host(stream_, f_, batch * num_latents * config_.fusion.width);
  if (map) to_host(stream_, map_, std::int64_t{batch} * num_latents * tokens);
}

void CudaEngine::record_fuse(int batch, int length, int num_latents) {
  const int most = options_.max_batch;
  const int *counts = texts_.device + 1, *ids = counts + most;
  to_device(stream_, texts_, 1 + most + std::int64_t{batch} * length);
  const float* text = text_encoder_.run(compute_, space_, ids, counts, batch, length);
  const void* fused = fusion_.run(compute_, space_, text_encoder_.norm(), text, counts, batch,
                                  length, f_.device, num_latents);
  decoder_.begin(compute_, fused, batch, num_latents);
}

void CudaEngine::record_generate(int batch, int length, int num_latents, bool from_host) {
  if (from_host) to_device(stream_, f_, batch * num_latents * config_.fusion.width);
  record_fuse(batch, length, num_latents);
  DecoderState state = state_;
  state.batch = batch;
  begin_answers(stream_, state);
  stream_.loop(state.active, state.max_tokens,
               [&](Stream&) { decoder_.step(compute_, space_, state, num_latents); });
  to_host(stream_, counts_, batch);
  to_host(stream_, ids_, std::int64_t{batch} * state.max_tokens);
  to_host(stream_, log_probs_, std::int64_t{batch} * state.max_tokens);
}

void CudaEngine::record(Work work, int batch, int length, int num_latents) {
  switch (work) {
    case Work::kEncode:
    case Work::kEncodeMap:
      record_encode(batch, num_latents, work == Work::kEncodeMap, true);
      break;
    case Work::kGenerate:
      record_generate(batch, length, num_latents, true);
      break;
    case Work::kAnswer:
      record_encode(batch, num_latents, false, true);
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

int CudaEngine::stage_texts(const std::vector<Ids>& texts, std::int64_t max_tokens) {
  std::int64_t longest = 0;
  for (const Ids& text : texts) longest = std::max(longest, text.count);
  const int length = *std::lower_bound(buckets_.begin(), buckets_.end(), longest);
  int* counts = texts_.host + 1;
  int* ids = counts + options_.max_batch;
  texts_.host[0] = static_cast<int>(std::min(max_tokens, config_.decoder.max_tokens));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    counts[i] = static_cast<int>(texts[i].count);
    int* row = ids + i * static_cast<std::size_t>(length);
    // Behind a text any id will do: nothing reads it.
    std::fill(std::copy_n(texts[i].data, texts[i].count, row), row + length, 0);
  }
  return length;
}

void CudaEngine::stage_images(const float* images, int batch) {
  const std::int64_t size = config_.vision.image_size;
  std::copy_n(images, batch * size * size * 3, images_.host);
}

void CudaEngine::stage_tokens(const float* f, int batch, int num_latents) {
  std::copy_n(f, batch * num_latents * config_.fusion.width, f_.host);
}

void CudaEngine::take_tokens(int batch, int num_latents, float* f) const {
  std::copy_n(f_.host, batch * num_latents * config_.fusion.width, f);
}

void CudaEngine::take_answers(int batch, const Answers& answers) const {
  const std::int64_t count = batch * config_.decoder.max_tokens;
  std::copy_n(ids_.host, count, answers.ids);
  std::copy_n(log_probs_.host, count, answers.log_probs);
  // Below 0 where the answer has ended.
  for (int i = 0; i < batch; ++i) answers.counts[i] = std::abs(counts_.host[i]);
}

void CudaEngine::encode_images(const float* images, int batch, int num_latents, float* f,
                               float* map) {
  const Turn turn(mutex_);
  stage_images(images, batch);
  run(map == nullptr ? Work::kEncode : Work::kEncodeMap, batch, 0, num_latents);
  take_tokens(batch, num_latents, f);
  if (map != nullptr) {
    std::copy_n(map_.host, std::int64_t{batch} * num_latents * config_.vision.num_tokens(), map);
  }
}

void CudaEngine::generate(const float* f, int num_latents, const std::vector<Ids>& texts,
                          std::int64_t max_tokens, const Answers& answers) {
  const Turn turn(mutex_);
  const int batch = static_cast<int>(texts.size());
  stage_tokens(f, batch, num_latents);
  run(Work::kGenerate, batch, stage_texts(texts, max_tokens), num_latents);
  take_answers(batch, answers);
}

void CudaEngine::answer(const float* images, int num_latents, const std::vector<Ids>& texts,
                        std::int64_t max_tokens, float* f, const Answers& answers) {
  const Turn turn(mutex_);
  const int batch = static_cast<int>(texts.size());
  stage_images(images, batch);
  run(Work::kAnswer, batch, stage_texts(texts, max_tokens), num_latents);
  if (f != nullptr) take_tokens(batch, num_latents, f);
  take_answers(batch, answers);
}

const float* CudaEngine::teacher_forced(const float* f, int num_latents, Ids text,
                                        const std::vector<Ids>& rows, int count) {
  const int batch = static_cast<int>(rows.size());
  for (int i = 0; i < batch; ++i) {
    const Ids& ids = rows[static_cast<std::size_t>(i)];
    int *fed = fed_.host + i * count, *expected = expected_.host + i * count;
    // Behind an answer any id will do: no row looks ahead.
    std::fill_n(fed, count, ModelConfig::kStartId);
    std::fill_n(expected, count, ModelConfig::kStartId);
    std::copy_n(ids.data, ids.count - 1, fed + 1);
    std::copy_n(ids.data, ids.count, expected);
  }
  stage_tokens(f, 1, num_latents);
  const int length = stage_texts({text}, 1);
  to_device(stream_, f_, num_latents * config_.fusion.width);
  record_fuse(1, length, num_latents);
  to_device(stream_, fed_, batch * count);
  to_device(stream_, expected_, batch * count);
  return decoder_.all(compute_, space_, fed_.device, batch, count, num_latents, true);
}

void CudaEngine::score(const float* f, int num_latents, Ids text,
                       const std::vector<Ids>& candidates, float* log_probs) {
  const Turn turn(mutex_);
  const int vocab = decoder_.vocab_size();
  for (std::size_t first = 0; first < candidates.size();) {
    // As many as the decoder's rows hold at once, all as long as the longest of them.
    std::size_t last = first;
    std::int64_t count = 0;
    while (last < candidates.size() &&
           last - first < static_cast<std::size_t>(options_.max_batch)) {
      const std::int64_t longer = std::max(count, candidates[last].count);
      if (last > first && longer * static_cast<std::int64_t>(last + 1 - first) > decoder_.rows()) {
        break;
      }
      count = longer;
      ++last;
    }
    const std::vector<Ids> some(candidates.begin() + static_cast<std::ptrdiff_t>(first),
                                candidates.begin() + static_cast<std::ptrdiff_t>(last));
    const int rows = static_cast<int>(some.size()) * static_cast<int>(count);
    const float* logits = teacher_forced(f, num_latents, text, some, static_cast<int>(count));
    log_sum_exp(stream_,
                {logits, vocab, expected_.device, nullptr, row_log_probs_.device, rows, vocab});
    to_host(stream_, row_log_probs_, rows);
    stream_.wait();
    for (std::size_t i = 0; i < some.size(); ++i) {
      float sum = 0.0f;
      for (std::int64_t a = 0; a < some[i].count; ++a) {
        sum += row_log_probs_.host[static_cast<std::int64_t>(i) * count + a];
      }
      log_probs[first + i] = sum;
    }
    first = last;
  }
}

void CudaEngine::logits(const float* f, int num_latents, Ids text, Ids answer, float* logits) {
  const Turn turn(mutex_);
  const int count = static_cast<int>(answer.count);
  const float* rows = teacher_forced(f, num_latents, text, {answer}, count);
  const std::int64_t floats = std::int64_t{count} * decoder_.vocab_size();
  stream_.copy_to_host(logits_.host, rows, static_cast<std::size_t>(floats) * sizeof(float));
  stream_.wait();
  std::copy_n(logits_.host, floats, logits);
}

}  // namespace tokenfuse::cuda
