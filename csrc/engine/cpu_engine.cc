#include "engine/cpu_engine.h"

#include <algorithm>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

#include "engine/checks.h"

namespace tokenfuse {
namespace {

// A workspace grows with rows times widths, weights with products of widths, so a config of few
// weights and absurd rows could ask for any memory. Of the named models the largest share is
// nano's: 0.7 MB beside 12 MB.
constexpr std::size_t kMaxWorkspaceBase = std::size_t{256} << 20;
constexpr std::size_t kMaxWorkspaceShare = 16;

void check_workspace(std::size_t workspace_bytes, std::size_t weights_bytes) {
  constexpr std::size_t kMega = std::size_t{1} << 20;
  const std::size_t most = kMaxWorkspaceBase + kMaxWorkspaceShare * weights_bytes;
  if (workspace_bytes <= most) return;
  throw std::invalid_argument("its workspace would take " +
                              std::to_string(workspace_bytes / kMega) + " MB beside " +
                              std::to_string(weights_bytes / kMega) + " MB of weights; at most " +
                              std::to_string(most / kMega) + " MB");
}

std::unique_ptr<Arena> block(std::size_t bytes) {
  auto arena = std::make_unique<Arena>(std::max(bytes, Arena::kAlignment));
  if (!arena->ok()) throw std::bad_alloc();
  return arena;
}

}  // namespace

CpuEngine::CpuEngine(const ModelConfig& config, const TensorMap& tensors, int num_threads, Isa isa,
                     Precision precision)
    : config_(supported(config)), compute_(isa, precision, num_threads) {
  Arena planned_weights;
  Loader plan(tensors, compute_.packing(), planned_weights, compute_.pool());
  load(plan);
  weights_ = block(planned_weights.peak_bytes());
  Loader loader(tensors, compute_.packing(), *weights_, compute_.pool());
  load(loader);

  image_encoder_.need(space_);
  text_encoder_.need(space_);
  fusion_.need(space_);
  decoder_.need(space_);
  Arena planned_workspace;
  layout(planned_workspace);
  check_workspace(planned_workspace.peak_bytes(), weights_->capacity_bytes());
  workspace_ = block(planned_workspace.peak_bytes());
  layout(*workspace_);
  fed_.assign(static_cast<std::size_t>(config_.decoder.max_tokens), 0);
}

void CpuEngine::load(Loader& loader) {
  loader.give_back();
  image_encoder_.load(loader, config_.vision);
  image_resampler_.load(loader, config_.fusion, "image_projection", "fusion.image_resampler",
                        config_.vision.width, config_.vision.num_tokens(), true);
  loader.give_back();
  text_encoder_.load(loader, config_.text);
  loader.give_back();
  fusion_.load(loader, config_);
  loader.give_back();
  decoder_.load(loader, config_);
  loader.give_back();
}

void CpuEngine::layout(Arena& arena) noexcept {
  const std::int64_t latents = config_.fusion.num_latents;
  const auto heads_scratch = [&](std::int64_t keys, std::int64_t width, std::int64_t heads) {
    return compute_.attention_floats(keys, width / heads);
  };
  const std::size_t attention = std::max(
      {heads_scratch(config_.vision.num_tokens(), config_.vision.width, config_.vision.num_heads),
       heads_scratch(latents, config_.fusion.width, config_.fusion.num_heads),
       compute_.attention_floats(config_.text.max_tokens, config_.text.head_dim),
       compute_.attention_floats(std::max(config_.decoder.max_tokens, latents),
                                 config_.decoder.head_dim),
       image_resampler_.attention_scratch(compute_),
       fusion_.text_resampler().attention_scratch(compute_)});
  const std::int64_t rows = std::max(
      {config_.vision.num_tokens(), config_.text.max_tokens, latents, config_.decoder.max_tokens});
  const std::int64_t inputs =
      std::max({space_.width, space_.inner, space_.hidden,
                config_.fusion.num_heads * std::max(config_.vision.width, config_.text.width)});
  compute_.layout(
      arena, attention,
      std::max(image_resampler_.merge_scratch(), fusion_.text_resampler().merge_scratch()), rows,
      inputs);
  space_.layout(arena);
  // A picture and a question are never in work together: they share the rest.
  const std::size_t mark = arena.mark();
  image_encoder_.layout(arena, compute_.pool().num_threads());
  image_resampler_.layout(arena);
  arena.release(mark);
  text_encoder_.layout(arena);
  fusion_.layout(arena);
  decoder_.layout(arena);
}

void CpuEngine::encode_image(const float* image, std::int64_t num_latents, float* f,
                             float* map) noexcept {
  const std::lock_guard<ForkSafeMutex> lock(mutex_);
  const View x = image_encoder_.run(compute_, space_, image);
  image_resampler_.run(compute_, x, config_.vision.num_tokens(), num_latents,
                       {f, config_.fusion.width}, map);
}

View CpuEngine::fused_of(const float* f, std::int64_t num_latents, Ids text) noexcept {
  const View encoded = text_encoder_.run(compute_, space_, text.data, text.count);
  // Only read.
  const View image{const_cast<float*>(f), config_.fusion.width};
  return fusion_.run(compute_, space_, encoded, text.count, image, num_latents);
}

void CpuEngine::fuse(const float* f, std::int64_t num_latents, Ids text, float* fused) noexcept {
  const std::lock_guard<ForkSafeMutex> lock(mutex_);
  const View rows = fused_of(f, num_latents, text);
  std::copy(rows.data, rows.row(num_latents), fused);
}

void CpuEngine::begin_answer(const float* f, std::int64_t num_latents, Ids text) noexcept {
  decoder_.begin(compute_, fused_of(f, num_latents, text), num_latents);
}

std::int64_t CpuEngine::generate(const float* f, std::int64_t num_latents, Ids text,
                                 std::int64_t max_tokens, std::int32_t* ids,
                                 float* log_probs) noexcept {
  const std::lock_guard<ForkSafeMutex> lock(mutex_);
  begin_answer(f, num_latents, text);
  std::int32_t id = ModelConfig::kStartId;
  std::int64_t count = 0;
  while (count < std::min(max_tokens, decoder_.max_tokens())) {
    const float* logits = decoder_.step(compute_, space_, text_encoder_, &id, count, 1).data;
    const LogSumExp sum = compute_.log_sum_exp(logits, config_.text.vocab_size);
    ids[count] = id = sum.top;
    log_probs[count] = sum.log_prob(sum.largest);
    ++count;
    if (id == ModelConfig::kEosId) break;
  }
  return count;
}

View CpuEngine::teacher_forced(Ids answer) noexcept {
  fed_[0] = ModelConfig::kStartId;
  std::copy(answer.data, answer.data + answer.count - 1, fed_.begin() + 1);
  return decoder_.step(compute_, space_, text_encoder_, fed_.data(), 0, answer.count);
}

void CpuEngine::score(const float* f, std::int64_t num_latents, Ids text,
                      const std::vector<Ids>& candidates, float* log_probs) noexcept {
  const std::lock_guard<ForkSafeMutex> lock(mutex_);
  begin_answer(f, num_latents, text);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const View logits = teacher_forced(candidates[i]);
    float sum = 0.0f;
    for (std::int64_t a = 0; a < candidates[i].count; ++a) {
      const float* row = logits.row(a);
      sum +=
          compute_.log_sum_exp(row, config_.text.vocab_size).log_prob(row[candidates[i].data[a]]);
    }
    log_probs[i] = sum;
  }
}

void CpuEngine::logits(const float* f, std::int64_t num_latents, Ids text, Ids answer,
                       float* logits) noexcept {
  const std::lock_guard<ForkSafeMutex> lock(mutex_);
  begin_answer(f, num_latents, text);
  const View rows = teacher_forced(answer);
  std::copy(rows.data, rows.row(answer.count), logits);
}

}  // namespace tokenfuse
