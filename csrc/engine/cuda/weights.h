// The way of a model's tensors to the device: linears in 16 bits, everything else in float32.
//
// Loading runs twice over the same code: first with a planning arena, which only counts, then with
// one block of exactly that size.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "core/cuda/types.h"
#include "core/thread_pool.h"
#include "engine/cuda/device_arena.h"
#include "engine/tensors.h"

namespace tokenfuse::cuda {

// Rows of 16-bit values begin at multiples of 16 bytes.
inline std::int64_t padded(std::int64_t count) noexcept { return (count + 7) / 8 * 8; }

// y = x W^T + b; rows of `weight` have padded(num_in) values. `gated`: outputs are pairs of gate
// and up. Zero rows and biases follow up to padded16(): where y is of 16 bits and the next linear's
// input, its padding is zero too.
struct Linear {
  const void* weight = nullptr;
  const float* bias = nullptr;
  int num_in = 0, num_out = 0;
  bool gated = false;

  std::int64_t padded16() const noexcept {
    return gated ? 2 * padded(num_out / 2) : padded(num_out);
  }
};

struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;  // null: RMS norm
  int width = 0;
  float eps = 0.0f;
};

// Rows of float16 or float32, as the file has them.
struct Table {
  const void* data = nullptr;
  bool half = false;
  int width = 0;
};

class Loader {
 public:
  Loader(const TensorMap& tensors, Type type, DeviceArena& arena, Stream& stream, ThreadPool& pool)
      : tensors_(tensors), type_(type), arena_(arena), stream_(stream), pool_(pool) {}

  bool planning() const noexcept { return arena_.planning(); }
  ThreadPool& pool() const noexcept { return pool_; }

  // Throws std::invalid_argument where the tensor is missing or has another shape. Zeros when
  // planning.
  std::vector<float> read(const std::string& name, std::initializer_list<std::int64_t> shape) const;
  float scalar(const std::string& name) const { return read(name, {})[0]; }

  const float* keep(const std::vector<float>& values);
  // In 16 bits; rows padded with zeros, and zero rows behind them up to `all_rows`.
  const void* keep16(const std::vector<float>& values, std::int64_t num_rows, std::int64_t width,
                     std::int64_t all_rows = 0);
  Table table(const std::string& name, std::int64_t num_rows, std::int64_t width);

  Norm layer_norm(const std::string& prefix, std::int64_t width, float eps);
  Norm rms_norm(const std::string& prefix, std::int64_t width, float eps);
  // Several linears of one input become one; `prefix.part.weight` is (num_out, num_in).
  Linear linear(const std::string& prefix, std::initializer_list<const char*> parts,
                std::int64_t num_in, std::int64_t num_out, bool bias, float scale = 1.0f);
  // gate and up, row by row.
  Linear gated(const std::string& prefix, std::int64_t num_in, std::int64_t num_out);
  Linear pack(const std::vector<float>& weight, std::vector<float> bias, std::int64_t num_in,
              std::int64_t num_out, bool gated = false);

 private:
  const void* upload(const void* from, std::size_t bytes);

  Tensors tensors_;
  Type type_;
  DeviceArena& arena_;
  Stream& stream_;
  ThreadPool& pool_;
};

}  // namespace tokenfuse::cuda
