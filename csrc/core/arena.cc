#include "core/arena.h"

#include <cassert>
#include <new>

namespace tokenfuse {
namespace {

constexpr std::align_val_t kAlign{Arena::kAlignment};

std::size_t round_up(std::size_t bytes) noexcept {
  return (bytes + Arena::kAlignment - 1) / Arena::kAlignment * Arena::kAlignment;
}

}  // namespace

Arena::Arena(std::size_t bytes) noexcept : capacity_(round_up(bytes == 0 ? 1 : bytes)) {
  block_ = static_cast<unsigned char*>(::operator new(capacity_, kAlign, std::nothrow));
}

Arena::~Arena() { ::operator delete(block_, kAlign); }

float* Arena::floats(std::size_t count) noexcept {
  const std::size_t bytes = round_up(count * sizeof(float));
  const std::size_t begin = used_;
  used_ += bytes;
  if (used_ > peak_) peak_ = used_;
  if (planning()) return nullptr;
  assert(used_ <= capacity_);
  if (used_ > capacity_) return nullptr;
  return reinterpret_cast<float*>(block_ + begin);
}

float* aligned_floats(std::size_t count) noexcept {
  const std::size_t bytes = round_up((count == 0 ? 1 : count) * sizeof(float));
  return static_cast<float*>(::operator new(bytes, kAlign, std::nothrow));
}

void aligned_free(float* pointer) noexcept { ::operator delete(pointer, kAlign); }

}  // namespace tokenfuse
