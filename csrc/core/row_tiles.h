// Rows cut into tiles whose height the compiler knows.
#pragma once

#include <cstdint>
#include <type_traits>

namespace tokenfuse {

// Calls body(constant) with `rows`, 1 to R, as a compile-time constant.
template <int R, typename Body>
inline void with_rows(std::int64_t rows, Body&& body) noexcept {
  if constexpr (R > 1) {
    if (rows < R) return with_rows<R - 1>(rows, body);
  }
  body(std::integral_constant<int, R>{});
}

// Calls body(constant, row) for tiles of at most R rows that cover [begin, end), as even as they
// can be: 32 rows are 11, 11 and 10, where 14, 14 and 4 would end in a tile that is mostly loads.
template <int R, typename Body>
inline void for_row_tiles(std::int64_t begin, std::int64_t end, Body&& body) noexcept {
  const std::int64_t rows = end - begin;
  const std::int64_t tiles = (rows + R - 1) / R;
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const std::int64_t row = begin + rows * tile / tiles;
    with_rows<R>(begin + rows * (tile + 1) / tiles - row,
                 [&](auto constant) { body(constant, row); });
  }
}

// Pointers to R rows a stride apart that step together. Every third one is kept, the others are
// reached by one and two strides, which an x86 address holds: with a pointer each, a tile of 14
// rows would fetch them from the stack in its hot loop.
template <int R, typename T>
class RowPointers {
 public:
  RowPointers(const T* first, std::int64_t stride) noexcept : stride_(stride) {
#pragma GCC unroll 8
    for (int i = 0; i < kKept; ++i) kept_[i] = first + 3 * i * stride;
  }

  const T* operator[](int row) const noexcept { return kept_[row / 3] + (row % 3) * stride_; }

  void step(std::int64_t count) noexcept {
#pragma GCC unroll 8
    for (int i = 0; i < kKept; ++i) {
      kept_[i] += count;
#if defined(__GNUC__)
      // Or the compiler makes one pointer and R offsets of them again.
      asm("" : "+r"(kept_[i]));
#endif
    }
  }

 private:
  static constexpr int kKept = (R + 2) / 3;
  const T* kept_[kKept];
  std::int64_t stride_;
};

}  // namespace tokenfuse
