#include <cstring>

#include "core/simd/avx512.h"
#include "kernels/linear_int8/linear_int8_tile.h"

namespace tokenfuse {
namespace {

// Without VNNI: widened to 16 bits, whose products are added in pairs to int32; the shorter way
// over `vpmaddubsw` saturates.
struct Pairs {
  using V = avx512::V;
  using Sums = __m512i;
  using Weights = __m512i;
  using Values = __m512i;
  static constexpr int kGroup = 2;
  static constexpr int kOffset = 0;

  static Sums set1(std::int32_t a) noexcept { return _mm512_set1_epi32(a); }
  static Weights load(const std::uint8_t* w) noexcept {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  }
  static Values broadcast(const std::int8_t* q) noexcept {
    std::int16_t two;
    std::memcpy(&two, q, sizeof(two));
    return _mm512_cvtepi8_epi16(_mm256_set1_epi16(two));
  }
  static Sums dot(Sums sum, Weights w, Values q) noexcept {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(w, q));
  }
  static Sums add(Sums a, Sums b) noexcept { return _mm512_add_epi32(a, b); }
  static V::T to_float(Sums sum) noexcept { return _mm512_cvtepi32_ps(sum); }
};

}  // namespace

// 12 x 2 sums + 2 of weights + 2 of activations and products: 28 of 32 registers.
extern const LinearInt8Kernel kLinearInt8Avx512;
const LinearInt8Kernel kLinearInt8Avx512{32, 12, 2, 0, linear_int8_run<Pairs, 12, 2>};

}  // namespace tokenfuse
