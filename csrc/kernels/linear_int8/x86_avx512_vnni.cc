#include <cstring>

#include "core/simd/avx512.h"
#include "kernels/linear_int8/linear_int8_tile.h"

namespace tokenfuse {
namespace {

struct Vnni {
  using V = avx512::V;
  using Sums = __m512i;
  using Weights = __m512i;
  using Values = __m512i;
  static constexpr int kGroup = 4;
  // The first factor is unsigned: the weights, plus 128.
  static constexpr int kOffset = 128;

  static Sums set1(std::int32_t a) noexcept { return _mm512_set1_epi32(a); }
  static Weights load(const std::uint8_t* w) noexcept { return _mm512_loadu_si512(w); }
  static Values broadcast(const std::int8_t* q) noexcept {
    std::int32_t four;
    std::memcpy(&four, q, sizeof(four));
    return _mm512_set1_epi32(four);
  }
  // As an instruction of our own: GCC 12 moves the intrinsic's sums to the stack and back.
  static Sums dot(Sums sum, Weights w, Values q) noexcept {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(q));
    return sum;
  }
  static Sums add(Sums a, Sums b) noexcept { return _mm512_add_epi32(a, b); }
  static V::T to_float(Sums sum) noexcept { return _mm512_cvtepi32_ps(sum); }
};

}  // namespace

// 14 x 2 sums + 2 of weights + 1 of activations: 31 of 32 registers. A tall tile reads weights
// seldom, 9 bytes a cycle, so that a second-level cache keeps up where a panel of many inputs does
// not stay in the first: 10 to 20% faster than 6 x 4 on K of 192 to 1,536 (Xeon, 48 KB of it shared
// by two threads); 196 rows are 14 x 14.
extern const LinearInt8Kernel kLinearInt8Avx512Vnni;
const LinearInt8Kernel kLinearInt8Avx512Vnni{32, 14, 4, 128, linear_int8_run<Vnni, 14, 2>};

}  // namespace tokenfuse
