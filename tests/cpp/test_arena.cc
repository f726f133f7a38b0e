// Arena: the plan and the real pass agree, and no size of any kind wraps around.
#include <cstdint>
#include <initializer_list>
#include <limits>

#include "check.h"
#include "core/arena.h"

namespace tokenfuse::test {
namespace {

bool aligned(const float* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % Arena::kAlignment == 0;
}

// Fills what it gets, so that a sanitizer sees a block that is too small.
float* filled(Arena& arena, std::size_t count) {
  float* floats = arena.floats(count);
  for (std::size_t i = 0; floats != nullptr && i < count; ++i) floats[i] = 1.0f;
  return floats;
}

// Space before a mark stays; space behind it is shared by the larger and the smaller part.
std::size_t use(Arena& arena, bool* ok) {
  const float* kept = filled(arena, 17);
  const std::size_t mark = arena.mark();
  const float* first = filled(arena, 100);
  filled(arena, 1);
  arena.release(mark);
  const float* second = filled(arena, 33);
  *ok = arena.planning() ? kept == nullptr && first == nullptr && second == nullptr
                         : aligned(kept) && first == kept + 32 && second == first;
  return arena.peak_bytes();
}

void check_plan() {
  set_case("plan");
  bool ok = false;
  Arena plan;
  CHECK(plan.ok() && plan.planning());
  const std::size_t bytes = use(plan, &ok);
  CHECK(ok);
  // 17, 100 and 1 floats in whole lines of 16.
  CHECK(bytes == (32 + 112 + 16) * sizeof(float));
  Arena real(bytes);
  CHECK(real.ok() && !real.planning() && real.capacity_bytes() == bytes);
  CHECK(use(real, &ok) == bytes);
  CHECK(ok);
}

void check_sizes() {
  for (const std::size_t bytes : {0, 1, 63, 64, 65}) {
    set_case("%zu bytes", bytes);
    Arena arena(bytes);
    CHECK(arena.ok() && !arena.planning());
    const std::size_t floats = arena.capacity_bytes() / sizeof(float);
    CHECK(arena.capacity_bytes() >= bytes && arena.capacity_bytes() < bytes + 65);
    CHECK(filled(arena, floats) != nullptr);
    CHECK(arena.floats(0) != nullptr);
#ifdef NDEBUG
    CHECK(arena.floats(1) == nullptr);
#endif
  }
}

// More than there can be is refused or counted as more than there is, never as little.
void check_no_wrap() {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  for (const std::size_t bytes : {kMost, kMost - 62, kMost - 63, kMost / 2 + 1}) {
    set_case("%zu bytes", bytes);
    const Arena arena(bytes);
    CHECK(!arena.ok() && !arena.planning());
  }
  for (const std::size_t count : {kMost, kMost / 4 + 1, kMost / 4, kMost / 8, kMost / 16}) {
    set_case("%zu floats", count);
    Arena plan;
    for (int i = 0; i < 9; ++i) plan.floats(count);
    CHECK(!Arena(plan.peak_bytes()).ok());
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  tokenfuse::test::check_plan();
  tokenfuse::test::check_sizes();
  tokenfuse::test::check_no_wrap();
  return tokenfuse::test::finish("arena");
}
