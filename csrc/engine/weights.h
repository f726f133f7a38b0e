// The way of a model's tensors into packed memory.
//
// Loading runs twice over the same code: first with a planning arena, which only counts,
// then with one block of exactly that size.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/thread_pool.h"
#include "engine/tensors.h"
#include "kernels/linear/linear.h"
#include "kernels/linear_bf16/linear_bf16.h"
#include "kernels/linear_int8/linear_int8.h"

namespace tokenfuse {

// Rows in packed memory as the file has them, float16 or float32, widened when they are read.
struct Table {
  const void* data = nullptr;
  bool half = false;
  std::int64_t width = 0;

  void copy_row(std::int64_t row, float* to) const noexcept;
};

// y = x W^T + b, packed for a kernel; bias may be null. One of `packed`, `packed_bf16`, and
// `packed_int8` with the scale of each output, padded to whole panels.
struct PackedLinear {
  const float* packed = nullptr;
  const std::uint16_t* packed_bf16 = nullptr;
  const std::uint8_t* packed_int8 = nullptr;
  const float* scale = nullptr;
  const float* bias = nullptr;
  std::int64_t num_in = 0, num_out = 0;
};

struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;  // null: RMS norm
  std::int64_t width = 0;
  float eps = 0.0f;
};

// What linears are packed for: `int8` or `bf16`, where it is not null, and float32 otherwise.
struct Packing {
  const LinearKernel* kernel;
  const LinearInt8Kernel* int8 = nullptr;
  QuantizeFn quantize = nullptr;
  const LinearBf16Kernel* bf16 = nullptr;
};

class Loader {
 public:
  // The pool packs: the number of its threads changes no bit.
  Loader(const TensorMap& tensors, const Packing& packing, Arena& arena, ThreadPool& pool) noexcept
      : tensors_(tensors), packing_(packing), arena_(arena), pool_(pool) {}

  const LinearKernel& kernel() const noexcept { return *packing_.kernel; }
  ThreadPool& pool() const noexcept { return pool_; }
  bool planning() const noexcept { return arena_.planning(); }

  // The tensor as float32 in a vector of its own, for folding. Throws std::invalid_argument
  // where it is missing or has another shape. Zeros when planning.
  std::vector<float> read(const std::string& name, std::initializer_list<std::int64_t> shape) const;
  float scalar(const std::string& name) const { return read(name, {})[0]; }

  // The tensor in packed memory, as float32.
  const float* keep(const std::string& name, std::initializer_list<std::int64_t> shape);
  Table table(const std::string& name, std::int64_t num_rows, std::int64_t width);
  const float* keep(const std::vector<float>& values);
  float* space(std::size_t count) { return arena_.floats(count); }

  // Between the parts of a model, so that what loading one took is not held while the next loads:
  // freed memory, and pages of mapped files. The system maps those around a page that is read,
  // which may have been given back before.
  void give_back() const noexcept;

  Norm layer_norm(const std::string& prefix, std::int64_t width, float eps);
  Norm rms_norm(const std::string& prefix, std::int64_t width, float eps);

  // Several linears of one input become one; `prefix.part.weight` is (num_out, num_in).
  PackedLinear linear(const std::string& prefix, std::initializer_list<const char*> parts,
                      std::int64_t num_in, std::int64_t num_out, bool bias, float scale = 1.0f);
  PackedLinear pack(const std::vector<float>& weight, const std::vector<float>& bias,
                    std::int64_t num_in, std::int64_t num_out);

 private:
  using Parts = std::vector<const TensorView*>;

  // Weights of the same shape, one below the other, times `scale`.
  PackedLinear pack_parts(const Parts& parts, float scale, const std::vector<float>& bias,
                          std::int64_t num_in, std::int64_t num_out);
  // Calls body(panel, rows, num_rows, thread) for each panel of `width` rows of the parts: no more
  // of them than a panel a thread is in memory as floats.
  template <typename Body>
  void for_panels(const Parts& parts, float scale, std::int64_t num_in, std::int64_t num_out,
                  std::int64_t width, Body&& body);

  Tensors tensors_;
  Packing packing_;
  Arena& arena_;
  ThreadPool& pool_;
};

}  // namespace tokenfuse
