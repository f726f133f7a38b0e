// Small models with random weights: every tensor of `tokenfuse_sdk/weights.py`, made here.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/cpu_engine.h"
#include "rows.h"

namespace tokenfuse::test {

// Widths of whole vectors; large enough for every layer to be split over threads: 256 image
// tokens. Text beyond the largest distance of the relative positions.
ModelConfig wide_config();

// Widths that fill no vector and differ from one another, the decoder's hidden one the largest; a
// class and a distillation token; no layers in vision.
ModelConfig odd_config();

// The same where the CUDA engine, whose heads are multiples of 8, lets it be.
ModelConfig narrow_config();

// Many heads and latents: the image's keys and values are projected, not folded, at the full
// budget; at the small one they are folded. A class token.
ModelConfig projected_config();

class SmallModel {
 public:
  explicit SmallModel(ModelConfig model);

  ModelConfig config;
  TensorMap tensors;

  Rows image(std::uint64_t seed) const;
  // Exactly `count` ids, none of them the end.
  std::vector<std::int32_t> ids(std::uint64_t seed, std::int64_t count) const;

 private:
  // Uniform numbers around `center`, on the heap, no larger than the shape.
  void add(const std::string& name, std::vector<std::int64_t> shape, float scale,
           float center = 0.0f);
  void linear(const std::string& name, std::int64_t num_in, std::int64_t num_out, bool bias = true);
  void conv(const std::string& name, std::int64_t num_in, std::int64_t num_out,
            std::int64_t kernel);
  void layer_norm(const std::string& name, std::int64_t width);
  void attention(const std::string& name, std::int64_t width);
  void layers(const std::string& name, std::int64_t count, std::int64_t width,
              std::int64_t mlp_dim);
  void add_vision();
  void add_t5(const std::string& name, std::int64_t count, std::int64_t heads,
              std::int64_t head_dim, std::int64_t mlp_dim, bool decoder);
  void add_fusion();

  std::map<std::string, Rows> values_;
};

}  // namespace tokenfuse::test
