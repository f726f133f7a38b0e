#include <cstring>

#include "core/simd/neon.h"
#include "kernels/linear_int8/linear_int8_tile.h"

namespace tokenfuse {
namespace {

// A type of this file's own: what is compiled here over it, with these flags, is never linked
// into another variant.
struct Floats : neon::V {};

struct Dot {
  using V = Floats;
  using Sums = int32x4_t;
  using Weights = int8x16_t;
  using Values = int8x8_t;
  static constexpr int kGroup = 4;
  static constexpr int kOffset = 0;

  static Sums set1(std::int32_t a) noexcept { return vdupq_n_s32(a); }
  static Weights load(const std::uint8_t* w) noexcept { return vreinterpretq_s8_u8(vld1q_u8(w)); }
  // The four values in the lowest lane, from where `dot` takes them.
  static Values broadcast(const std::int8_t* q) noexcept {
    std::int32_t four;
    std::memcpy(&four, q, sizeof(four));
    return vreinterpret_s8_s32(vdup_n_s32(four));
  }
  static Sums dot(Sums sum, Weights w, Values q) noexcept { return vdotq_lane_s32(sum, w, q, 0); }
  static Sums add(Sums a, Sums b) noexcept { return vaddq_s32(a, b); }
  static V::T to_float(Sums sum) noexcept { return vcvtq_f32_s32(sum); }
};

}  // namespace

// 6 x 4 sums + 4 of weights + 1 of activations: 29 of 32 registers; 10 loads for 24 products.
extern const LinearInt8Kernel kLinearInt8NeonDotprod;
const LinearInt8Kernel kLinearInt8NeonDotprod{16, 6, 4, 0, linear_int8_run<Dot, 6, 4>};

}  // namespace tokenfuse
