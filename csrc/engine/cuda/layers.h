// What the parts of the model share on a GPU: the launches, their buffers, and the repeated layers.
//
// Rows of a whole batch lie behind each other, (batch * rows, width), so a linear does all of them
// at once. The running sum of a stack, x, is float32 throughout: 16 bits are for what one linear
// hands to the next.
#pragma once

#include <string>
#include <vector>

#include "engine/cuda/weights.h"
#include "kernels/attention/cuda.h"
#include "kernels/layer_norm/cuda.h"
#include "kernels/linear/cuda.h"

namespace tokenfuse::cuda {

// Where a linear's rows come from and go to; of two pointers, the one that is not null.
struct LinearCall {
  const void* x16 = nullptr;
  const float* x32 = nullptr;
  const Norm* norm = nullptr;
  float* y32 = nullptr;
  void* y16 = nullptr;
  std::int64_t ldy = 0;  // 0: as wide as the outputs, in 16 bits padded
  Activation activation = Activation::kNone;
  const float* residual = nullptr;  // of y's rows
  bool residual_repeats = false;
  const float* original = nullptr;
  float scale = 1.0f, original_scale = 0.0f;
  int group = 0, y_group = 0;
  const int* y_row = nullptr;
};

// The stream and the device, and how ops are launched on them.
struct Compute {
  Stream* stream = nullptr;
  DeviceInfo device;
  Type type = Type::kHalf;
  // Where rows are normed for linears that have many: 16-bit rows, as many and as wide as any.
  void* normed = nullptr;

  // A norm is taken within the linear, or before it where each of many tiles would repeat it: the
  // same bits.
  void linear(const Linear& weights, int rows, const LinearCall& call) const;
  // To 16 bits.
  void norm16(const Norm& norm, const float* x, int rows, void* y16) const;
};

// Rows that the layers of one stack share; sized for the largest of them.
struct Space {
  std::int64_t rows = 0, width = 0, inner = 0, hidden = 0;
  void *normed = nullptr, *qkv = nullptr, *o = nullptr, *h = nullptr;

  void need(std::int64_t new_rows, std::int64_t new_width, std::int64_t new_inner,
            std::int64_t new_hidden) noexcept;
  void layout(DeviceArena& arena);
};

// Columns [first, ...) of rows of 16-bit values.
inline const void* columns(const void* rows, std::int64_t first) noexcept {
  return rows == nullptr ? nullptr : static_cast<const std::uint16_t*>(rows) + first;
}

// Pre-norm self layer of the image encoder and the fusion.
struct SelfLayer {
  Norm norm1, norm2;
  Linear qkv, output, up, down;
  int num_heads = 0, head_dim = 0;
  Activation activation = Activation::kGelu;

  void load(Loader& loader, const std::string& prefix, std::int64_t width, std::int64_t heads,
            std::int64_t mlp_dim, Activation act, float eps);
  // x += Phi(LN x, LN x); x += MLP(LN x): `batch` times `rows` rows.
  void run(const Compute& compute, const Space& space, float* x, int batch, int rows) const;
};

// x += (gelu_tanh(n Wgate) * (n Wup)) Wdown, n = RMS(x).
struct GatedMlp {
  Norm norm;
  Linear gate_up, down;

  void load(Loader& loader, const std::string& norm_name, const std::string& prefix,
            std::int64_t width, std::int64_t mlp_dim, float eps);
  void run(const Compute& compute, const Space& space, float* x, int rows) const;
};

// Attention within `width` columns: q, k and v behind each other in rows of `qkv`, or k and v in
// rows of their own. Strides of a batch are filled in for contiguous rows.
AttentionArgs self_attention(const Compute& compute, const void* qkv, void* o, int batch, int rows,
                             int num_heads, int head_dim, float scale);

}  // namespace tokenfuse::cuda
