// A bump allocator over one block of device memory: planned once, as core/arena.h is on the host.
#pragma once

#include <algorithm>
#include <cstddef>

#include "core/cuda/runtime.h"

namespace tokenfuse::cuda {

class DeviceArena {
 public:
  // Of a transaction of memory, and of every vector.
  static constexpr std::size_t kAlignment = 256;

  // Plans: `bytes` returns null and only `peak_bytes` is of use.
  DeviceArena() noexcept = default;
  // Throws OutOfMemory.
  explicit DeviceArena(std::size_t bytes) : block_(std::max(bytes, kAlignment)) {}

  bool planning() const noexcept { return block_.data() == nullptr; }

  void* bytes(std::size_t count) {
    const std::size_t begin = used_;
    used_ += (count + kAlignment - 1) / kAlignment * kAlignment;
    peak_ = std::max(peak_, used_);
    if (planning()) return nullptr;
    if (used_ > block_.bytes()) throw CudaError("DeviceArena", "the plan was smaller");
    return static_cast<unsigned char*>(block_.data()) + begin;
  }
  template <typename T>
  T* many(std::int64_t count) {
    return static_cast<T*>(bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }

  std::size_t mark() const noexcept { return used_; }
  void release(std::size_t mark) noexcept { used_ = mark; }
  std::size_t peak_bytes() const noexcept { return peak_; }
  std::size_t capacity_bytes() const noexcept { return block_.bytes(); }

 private:
  DeviceBuffer block_;
  std::size_t used_ = 0, peak_ = 0;
};

}  // namespace tokenfuse::cuda
