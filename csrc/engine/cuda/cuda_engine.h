// The whole model on a GPU: prepared pictures in, answer ids out, on weights uploaded once and one
// arena of device memory.
//
// The work of a call is a graph, recorded once for its shape (batch, text bucket, budget) and
// launched with one wait at its end. Calls may come from many threads: they take turns.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/checks.h"
#include "engine/cuda/decoder.h"
#include "engine/cuda/fusion.h"
#include "engine/cuda/image_encoder.h"
#include "engine/cuda/text_encoder.h"

namespace tokenfuse::cuda {

struct EngineOptions {
  Type type = Type::kHalf;
  // The most pictures or questions of one call; the arena is planned for it.
  int max_batch = 1;
  // Recorded graphs, or every launch by itself: the same bits, slower.
  bool graphs = true;
};

// Of one call, in milliseconds: copies and kernels from the first to the last, on the device; and
// how long the host took to ask for them.
struct CallTimes {
  float device_ms = 0;
  float launch_ms = 0;
};

// Of a batch, where it was generated to: ids and log-probabilities have decoder.max_tokens columns.
struct Answers {
  std::int32_t* ids;
  float* log_probs;
  std::int64_t* counts;
};

class CudaEngine {
 public:
  // Throws std::invalid_argument for a model that it does not have or a tensor that does not fit,
  // CudaError and OutOfMemory.
  CudaEngine(const ModelConfig& config, const TensorMap& tensors, const EngineOptions& options);

  const ModelConfig& config() const noexcept { return config_; }
  const EngineOptions& options() const noexcept { return options_; }
  std::size_t weights_bytes() const noexcept { return weights_->capacity_bytes(); }
  std::size_t workspace_bytes() const noexcept { return workspace_->capacity_bytes(); }

  // Whether calls are timed from now on, and the times of the last one that was.
  void set_timed(bool timed);
  CallTimes last_times();

  // Records the graphs of a batch, at every text bucket, for a budget: the first call of a shape
  // does it otherwise.
  void record(int batch, int num_latents);

  // Arguments are those that checks.h lets pass, and at most max_batch. All throw CudaError.
  //
  // images: (batch, image_size, image_size, 3), prepared. f: (batch, num_latents, width). map:
  // (batch, num_latents, image tokens), or null.
  void encode_images(const float* images, int batch, int num_latents, float* f, float* map);

  // Greedy: at most `max_tokens` ids per answer, the end included.
  void generate(const float* f, int num_latents, const std::vector<Ids>& texts,
                std::int64_t max_tokens, const Answers& answers);

  // Both at once, with one wait; f as of encode_images, or null.
  void answer(const float* images, int num_latents, const std::vector<Ids>& texts,
              std::int64_t max_tokens, float* f, const Answers& answers);

  // Of one picture: (num_latents, text width), what the decoder reads.
  void fuse(const float* f, int num_latents, Ids text, float* fused);

  // Of one picture: sum of the log-probabilities of each candidate's ids.
  void score(const float* f, int num_latents, Ids text, const std::vector<Ids>& candidates,
             float* log_probs);

  // Of one picture: (answer.count, vocabulary), as of the CPU engine.
  void logits(const float* f, int num_latents, Ids text, Ids answer, float* logits);

 private:
  // A call's turn: one at a time, and on the engine's device.
  struct Turn {
    explicit Turn(std::mutex& mutex) : lock(mutex), current(kDevice) {}
    std::lock_guard<std::mutex> lock;
    CurrentDevice current;
  };

  // CUDA_VISIBLE_DEVICES says which one that is.
  static constexpr int kDevice = 0;

  enum class Work { kEncode, kEncodeMap, kGenerate, kAnswer };
  // Work, batch, text bucket, budget.
  using Shape = std::array<int, 4>;

  void load(Loader& loader);
  void layout(DeviceArena& arena);
  void record_encode(int batch, int num_latents, bool map);
  // Returns the fused tokens, 16-bit rows.
  const void* record_fuse(int batch, int length, int num_latents);
  void record_generate(int batch, int length, int num_latents, bool from_host);
  // What does the work of a shape: its graph, recorded where it is the first time, or null.
  const Graph* graph_of(Work work, int batch, int length, int num_latents);
  // Does it, and waits.
  void run(Work work, int batch, int length, int num_latents);
  Graph capture(Work work, int batch, int length, int num_latents);
  void record(Work work, int batch, int length, int num_latents);
  // Fills the inputs; returns the bucket.
  int stage_texts(const std::vector<Ids>& texts, std::int64_t max_tokens);
  void stage_images(const float* images, int batch);
  void stage_tokens(const float* f, int batch, int num_latents);
  void take_tokens(int batch, int num_latents, float* f) const;
  void take_answers(int batch, const Answers& answers) const;
  // Fuses one question, from the host: rows as of record_fuse.
  const void* fuse_one(const float* f, int num_latents, Ids text);
  // The same, and feeds rows of ids, `count` each; the logits stay on the device.
  const float* teacher_forced(const float* f, int num_latents, Ids text,
                              const std::vector<Ids>& rows, int count);

  // While the engine is made: what follows belongs to the device.
  std::unique_ptr<CurrentDevice> current_ = std::make_unique<CurrentDevice>(kDevice);
  ModelConfig config_;
  EngineOptions options_;
  Stream stream_;
  Compute compute_;
  ImageEncoder image_encoder_;
  Resampler image_resampler_;
  TextEncoder text_encoder_;
  Fusion fusion_;
  Decoder decoder_;
  Space space_;
  std::unique_ptr<DeviceArena> weights_, workspace_;
  std::vector<int> buckets_;

  // On the device, and its image in pinned memory.
  template <typename T>
  struct Mirror {
    T* device = nullptr;
    T* host = nullptr;

    // The first of them.
    void to_device(Stream& stream, std::int64_t some) const {
      stream.copy_to_device(device, host, static_cast<std::size_t>(some) * sizeof(T));
    }
    void to_host(Stream& stream, std::int64_t some) const {
      stream.copy_to_host(host, device, static_cast<std::size_t>(some) * sizeof(T));
    }
  };
  template <typename T>
  void take(DeviceArena& arena, Mirror<T>& mirror, std::int64_t count);
  template <typename T>
  void take_host(Mirror<T>& mirror, std::int64_t count);
  std::size_t pinned_bytes_ = 0;  // while planning: how much; then: how much is given out
  PinnedBuffer pinned_;
  Mirror<float> images_, f_, map_;
  // limit, then a count per text, then the ids, `bucket` of each text.
  Mirror<int> texts_;
  // A count per answer, ids, log-probabilities.
  Mirror<int> counts_, ids_;
  Mirror<float> log_probs_;
  Mirror<int> fed_;       // rows of ids that are given
  Mirror<int> expected_;  // and what is to follow them
  Mirror<float> row_log_probs_;
  Mirror<float> logits_;
  Mirror<std::uint16_t> fused_;
  DecoderState state_{};

  std::map<Shape, Graph> graphs_;
  bool timed_ = false;
  Timer timer_;
  CallTimes times_;
  std::mutex mutex_;
};

}  // namespace tokenfuse::cuda
