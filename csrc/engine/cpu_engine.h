// The whole model on a CPU: picture in, answer ids out, on packed weights and one arena.
//
// Calls may come from many threads, and from a process that was forked after the engine was
// made: they take turns within their process. No call allocates memory, but for the first in a
// forked process, which starts threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/fork.h"
#include "engine/checks.h"
#include "engine/compute.h"
#include "engine/config.h"
#include "engine/decoder.h"
#include "engine/fusion.h"
#include "engine/image_encoder.h"
#include "engine/resampler.h"
#include "engine/text_encoder.h"

namespace tokenfuse {

class CpuEngine {
 public:
  // Throws std::invalid_argument for a model it does not have or a tensor that does not fit,
  // std::bad_alloc where memory is out.
  CpuEngine(const ModelConfig& config, const TensorMap& tensors, int num_threads, Isa isa,
            Precision precision = Precision::kFp32);

  const ModelConfig& config() const noexcept { return config_; }
  Isa isa() const noexcept { return compute_.isa(); }
  Precision precision() const noexcept { return compute_.precision(); }
  int num_threads() noexcept { return compute_.pool().num_threads(); }
  std::size_t weights_bytes() const noexcept { return weights_->capacity_bytes(); }
  std::size_t workspace_bytes() const noexcept { return workspace_->capacity_bytes(); }

  // Arguments are those that checks.h lets pass.
  //
  // image: (image_size, image_size, 3), prepared. f: (num_latents, width). map: (num_latents,
  // image tokens), or null.
  void encode_image(const float* image, std::int64_t num_latents, float* f, float* map) noexcept;

  // fused: (num_latents, text width), what the decoder reads.
  void fuse(const float* f, std::int64_t num_latents, Ids text, float* fused) noexcept;

  // Greedy: at most `max_tokens` ids, the end included, and their log-probabilities. Returns
  // how many.
  std::int64_t generate(const float* f, std::int64_t num_latents, Ids text, std::int64_t max_tokens,
                        std::int32_t* ids, float* log_probs) noexcept;

  // Sum of the log-probabilities of each candidate's ids.
  void score(const float* f, std::int64_t num_latents, Ids text, const std::vector<Ids>& candidates,
             float* log_probs) noexcept;

  // (answer.count, vocabulary): row a is predicted from the start id and a answer ids.
  void logits(const float* f, std::int64_t num_latents, Ids text, Ids answer,
              float* logits) noexcept;

 private:
  void load(Loader& loader);
  void layout(Arena& arena) noexcept;
  View fused_of(const float* f, std::int64_t num_latents, Ids text) noexcept;
  void begin_answer(const float* f, std::int64_t num_latents, Ids text) noexcept;
  View teacher_forced(Ids answer) noexcept;

  ModelConfig config_;
  Compute compute_;
  ImageEncoder image_encoder_;
  Resampler image_resampler_;
  TextEncoder text_encoder_;
  Fusion fusion_;
  Decoder decoder_;
  Workspace space_;
  std::unique_ptr<Arena> weights_, workspace_;
  std::vector<std::int32_t> fed_;
  ForkSafeMutex mutex_;
};

}  // namespace tokenfuse
