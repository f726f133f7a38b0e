// A model's tensors by name, as somebody else owns them: read once, at load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <unordered_map>
#include <vector>

namespace tokenfuse {

// A C-contiguous tensor that somebody else owns: float32, or float16 bits. It may lie at any
// byte: in a file, tensors begin where the header ends.
struct TensorView {
  const void* data;
  bool half;
  std::vector<std::int64_t> shape;
  // In a read-only mapping of a file: its pages are given back once they were read.
  bool mapped = false;

  std::size_t item_bytes() const noexcept { return half ? sizeof(std::uint16_t) : sizeof(float); }
  std::size_t count() const noexcept {
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    return count;
  }
};

using TensorMap = std::unordered_map<std::string, TensorView>;

class Tensors {
 public:
  explicit Tensors(const TensorMap& map) noexcept : map_(map) {}

  // Throws std::invalid_argument where it is missing or has another shape.
  const TensorView& find(const std::string& name, std::initializer_list<std::int64_t> shape) const;
  // As float32 in a vector of its own.
  std::vector<float> read(const std::string& name, std::initializer_list<std::int64_t> shape) const;
  // Gives back the pages of all mapped files. The system maps those around a page that is read,
  // which may have been given back before.
  void release_pages() const noexcept;

 private:
  const TensorMap& map_;
};

// Elements [first, first + count).
const unsigned char* address(const TensorView& tensor, std::size_t first) noexcept;
void copy_floats(const TensorView& tensor, std::size_t first, std::size_t count,
                 float* to) noexcept;
// Gives back their pages, where they are those of a file.
void release(const TensorView& tensor, std::size_t first, std::size_t count) noexcept;
// Copies from the beginning, then releases.
void take_floats(const TensorView& tensor, std::size_t count, float* to) noexcept;

inline std::size_t count_of(std::initializer_list<std::int64_t> shape) noexcept {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  return count;
}

}  // namespace tokenfuse
