#include "engine/cuda/cuda_engine.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

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
void CudaEngine::take_host(Mirror<T>& mirror, std::int64_t count) {
  auto* base = static_cast<unsigned char*>(pinned_.data());
  mirror.host = base == nullptr ? nullptr : reinterpret_cast<T*>(base + pinned_bytes_);
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
  pinned_bytes_ +=
      (bytes + DeviceArena::kAlignment - 1) / DeviceArena::kAlignment * DeviceArena::kAlignment;
}

template <typename T>
void CudaEngine::take(DeviceArena& arena, Mirror<T>& mirror, std::int64_t count) {
  mirror.device = arena.many<T>(count);
  take_host(mirror, count);
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
  take_host(logits_, longest * config_.text.vocab_size);
  // As those: the fusion's on the device.
  take_host(fused_, latents * padded(config_.text.width));

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

}  // namespace tokenfuse::cuda
