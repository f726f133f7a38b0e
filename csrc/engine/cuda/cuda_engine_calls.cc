// Calls of the engine: arguments into pinned memory, the work of their shape, results out of it.
#include <algorithm>
#include <cstdlib>

#include "core/cuda/half_rows.h"
#include "engine/cuda/cuda_engine.h"
#include "kernels/log_sum_exp/cuda.h"

namespace tokenfuse::cuda {

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

const void* CudaEngine::fuse_one(const float* f, int num_latents, Ids text) {
  stage_tokens(f, 1, num_latents);
  const int length = stage_texts({text}, 1);
  f_.to_device(stream_, num_latents * config_.fusion.width);
  return record_fuse(1, length, num_latents);
}

void CudaEngine::fuse(const float* f, int num_latents, Ids text, float* fused) {
  const Turn turn(mutex_);
  const void* rows = fuse_one(f, num_latents, text);
  const std::int64_t width = config_.text.width, stride = padded(width);
  const std::int64_t count = num_latents * stride;
  stream_.copy_to_host(fused_.host, rows, static_cast<std::size_t>(count) * sizeof(std::uint16_t));
  stream_.wait();
  rows_to_floats(options_.type, fused_.host, {num_latents, width, stride}, fused);
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
  fuse_one(f, num_latents, text);
  fed_.to_device(stream_, batch * count);
  expected_.to_device(stream_, batch * count);
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
    row_log_probs_.to_host(stream_, rows);
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
