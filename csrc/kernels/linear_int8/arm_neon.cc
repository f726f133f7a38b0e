#include <cstring>

#include "core/simd/neon.h"
#include "kernels/linear_int8/linear_int8_tile.h"

namespace tokenfuse {
namespace {

// Without dot product: products in 16 bits, of at most 128 * 127, which are added in pairs to
// int32.
struct Pairs {
  using V = neon::V;
  using Sums = int32x4_t;
  using Weights = int8x8_t;
  using Values = int8x8_t;
  static constexpr int kGroup = 2;
  static constexpr int kOffset = 0;

  static Sums set1(std::int32_t a) noexcept { return vdupq_n_s32(a); }
  static Weights load(const std::uint8_t* w) noexcept { return vreinterpret_s8_u8(vld1_u8(w)); }
  static Values broadcast(const std::int8_t* q) noexcept {
    std::int16_t two;
    std::memcpy(&two, q, sizeof(two));
    return vreinterpret_s8_s16(vdup_n_s16(two));
  }
  static Sums dot(Sums sum, Weights w, Values q) noexcept {
    return vpadalq_s16(sum, vmull_s8(w, q));
  }
  static Sums add(Sums a, Sums b) noexcept { return vaddq_s32(a, b); }
  static V::T to_float(Sums sum) noexcept { return vcvtq_f32_s32(sum); }
};

}  // namespace

// 6 x 4 sums + 4 of weights + 1 of activations + 1 of products: 30 of 32 registers.
extern const LinearInt8Kernel kLinearInt8Neon;
const LinearInt8Kernel kLinearInt8Neon{16, 6, 2, 0, linear_int8_run<Pairs, 6, 4>};

}  // namespace tokenfuse
