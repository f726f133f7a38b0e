// Text ids to text_LT: T5 v1.1 encoder.
#pragma once

#include <vector>

#include "engine/config.h"
#include "engine/layers.h"

namespace tokenfuse {

class TextEncoder {
 public:
  void load(Loader& loader, const TextConfig& config);
  void need(Workspace& space) const noexcept;
  void layout(Arena& arena) noexcept;

  // `count` ids, 1 to max_tokens. Returns the tokens, valid until the next call.
  View run(Compute& compute, const Workspace& space, const std::int32_t* ids,
           std::int64_t count) noexcept;

  // Copies the row of an id of the embedding, which the decoder shares.
  void embed(std::int32_t id, float* to) const noexcept { embedding_.copy_row(id, to); }

 private:
  struct Layer {
    Norm norm1, norm2;
    PackedLinear qkv, output;
    GatedMlp mlp;
  };

  std::int64_t width_ = 0, num_heads_ = 0, head_dim_ = 0, mlp_dim_ = 0, max_tokens_ = 0;
  Table embedding_;
  RelativeBias bias_;
  std::vector<Layer> layers_;
  Norm norm_;
  View x_{};
};

}  // namespace tokenfuse
