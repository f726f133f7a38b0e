// The repeated layers: pre-norm self layer (image encoder, fusion) and the T5 v1.1 parts.
//
// Weights with biases carry softmax scale 1/sqrt(h); T5 has neither scale nor biases.
// Buffers: `x` is updated in place, the rest is scratch of the caller's `Workspace`.
#pragma once

#include <vector>

#include "engine/compute.h"

namespace tokenfuse {

// Rows that the layers of one stack share; sized for the largest of them.
struct Workspace {
  std::int64_t rows = 0, width = 0, inner = 0, hidden = 0;
  View y{}, qkv{}, o{}, h{};

  // Grows the extents to hold a stack.
  void need(std::int64_t rows, std::int64_t width, std::int64_t inner,
            std::int64_t hidden) noexcept;
  void layout(Arena& arena) noexcept;
};

struct SelfLayer {
  Norm norm1, norm2;
  PackedLinear qkv, output, up, down;
  std::int64_t num_heads = 0, head_dim = 0;
  Activation activation = Activation::kGelu;

  void load(Loader& loader, const std::string& prefix, std::int64_t width, std::int64_t heads,
            std::int64_t mlp_dim, Activation act, float eps);
  // x += Phi(LN x, LN x); x += MLP(LN x), layer after layer.
  static void run(Compute& compute, const Workspace& space, const std::vector<SelfLayer>& layers,
                  View x, std::int64_t rows) noexcept;

 private:
  Link to_qkv(const Workspace& space, View x) const noexcept;
  void attend(Compute& compute, const Workspace& space, std::int64_t rows) const noexcept;
};

// (gelu_tanh(x Wgate) * (x Wup)) Wdown, gate and up as one product.
struct GatedMlp {
  PackedLinear gate_up, down;
  std::int64_t hidden = 0;

  void load(Loader& loader, const std::string& prefix, std::int64_t width, std::int64_t mlp_dim);
  // x += MLP(y)
  void run(Compute& compute, const Workspace& space, View y, View x,
           std::int64_t rows) const noexcept;
};

// T5's relative position bias as one line per head: row i of the (Q, K) bias begins at
// `center(head) - i`, so that all rows lie in the same 2 L - 1 numbers.
class RelativeBias {
 public:
  void load(Loader& loader, const std::string& name, std::int64_t num_buckets,
            std::int64_t num_heads, std::int64_t max_distance, std::int64_t max_tokens,
            bool bidirectional);
  // Where key 0 of query 0 of head 0 is; a query further is one float back.
  const float* center() const noexcept { return table_ + max_tokens_ - 1; }
  std::int64_t head_stride() const noexcept { return 2 * max_tokens_ - 1; }

 private:
  const float* table_ = nullptr;
  std::int64_t max_tokens_ = 0;
};

// Bucket of a distance key - query.
std::int64_t relative_bucket(std::int64_t distance, bool bidirectional, std::int64_t num_buckets,
                             std::int64_t max_distance) noexcept;

// (num_heads, 2 max_tokens - 1): the bias of key - query from 1 - max_tokens on; -infinity ahead of
// a query that is not bidirectional. weight: (num_buckets, num_heads).
std::vector<float> relative_bias_lines(const std::vector<float>& weight, std::int64_t num_buckets,
                                       std::int64_t num_heads, std::int64_t max_distance,
                                       std::int64_t max_tokens, bool bidirectional);

}  // namespace tokenfuse
