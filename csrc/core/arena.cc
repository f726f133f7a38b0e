#include "core/arena.h"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <limits>
#include <new>

namespace tokenfuse {
namespace {

constexpr std::align_val_t kAlign{Arena::kAlignment};

// A size that no object has. It stands for all larger ones and is refused unasked; a sum of two
// does not wrap around.
constexpr std::size_t kTooManyBytes =
    static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / Arena::kAlignment *
    Arena::kAlignment;

std::size_t round_up(std::size_t bytes) noexcept {
  if (bytes >= kTooManyBytes) return kTooManyBytes;
  return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

std::size_t bytes_of(std::size_t count) noexcept {
  if (count >= kTooManyBytes / sizeof(float)) return kTooManyBytes;
  return round_up(count * sizeof(float));
}

void* allocate(std::size_t bytes) noexcept {
  return bytes == kTooManyBytes ? nullptr : ::operator new(bytes, kAlign, std::nothrow);
}

}  // namespace

Arena::Arena(std::size_t bytes) noexcept : capacity_(round_up(bytes == 0 ? 1 : bytes)) {
  block_ = static_cast<unsigned char*>(allocate(capacity_));
}

Arena::~Arena() { ::operator delete(block_, kAlign); }

float* Arena::floats(std::size_t count) noexcept {
  return static_cast<float*>(bytes(bytes_of(count)));
}

void* Arena::bytes(std::size_t count) noexcept {
  const std::size_t begin = used_;
  used_ = std::min(used_ + round_up(count), kTooManyBytes);
  if (used_ > peak_) peak_ = used_;
  if (planning()) return nullptr;
  assert(used_ <= capacity_);
  if (used_ > capacity_) return nullptr;
  return block_ + begin;
}

}  // namespace tokenfuse
