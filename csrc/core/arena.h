// A bump allocator over one block: planned once, then never asks for memory again.
//
// Two passes use the same code: a planning arena (no block) counts bytes, a
// real one hands out pointers. `mark` and `release` reuse space in stack order.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tokenfuse {

class Arena {
 public:
  // A cache line, and the widest vector.
  static constexpr std::size_t kAlignment = 64;

  // Plans: `floats` returns null and only `peak_bytes` is of use.
  Arena() noexcept = default;
  // Allocates `bytes`; `ok()` is false where there is no memory.
  explicit Arena(std::size_t bytes) noexcept;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  bool ok() const noexcept { return planning() || block_ != nullptr; }
  bool planning() const noexcept { return capacity_ == 0; }

  // `count` floats aligned to 64 bytes; null when planning or when the block is
  // full, which a plan made by the same calls rules out.
  float* floats(std::size_t count) noexcept;
  // The same in bytes.
  void* bytes(std::size_t count) noexcept;

  std::size_t mark() const noexcept { return used_; }
  void release(std::size_t mark) noexcept { used_ = mark; }
  std::size_t peak_bytes() const noexcept { return peak_; }
  std::size_t capacity_bytes() const noexcept { return capacity_; }

 private:
  unsigned char* block_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
};

}  // namespace tokenfuse
