#include <cstring>

#include "core/simd/avx512.h"
#include "kernels/linear/linear_tile.h"
#include "kernels/linear_bf16/linear_bf16.h"

namespace tokenfuse {
namespace {

// `vdpbf16ps`: two products of bfloat16 and their sum.
struct Dot {
  using V = avx512::V;
  using Weight = std::uint16_t;
  using Value = std::uint16_t;
  using Factor = __m512i;
  static constexpr int kRows = 9, kVectors = 3, kGroup = 2, kParts = 1;
  static constexpr bool kKeeps = false;

  template <int Part>
  static Factor weights(const std::uint16_t* w) noexcept {
    return _mm512_loadu_si512(w);
  }
  static Factor value(const std::uint16_t* x) noexcept {
    std::int32_t pair;
    std::memcpy(&pair, x, sizeof(pair));
    return _mm512_set1_epi32(pair);
  }
  // As an instruction of our own: GCC 12 moves the sums of such intrinsics to the stack and back.
  static V::T fma(Factor x, Factor w, V::T sum) noexcept {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
  }
};

void round_rows(const float* x, std::int64_t ldx, std::uint16_t* to, std::int64_t ldt,
                std::int64_t rows, std::int64_t k) noexcept {
  for (std::int64_t i = 0; i < rows; ++i, x += ldx, to += ldt) {
    for (std::int64_t j = 0; j < k; j += 16) {
      const auto mask = static_cast<__mmask16>(k - j < 16 ? (1u << (k - j)) - 1u : 0xFFFFu);
      const __m256bh half = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + j));
      // The padding of an odd row is written with it: zero.
      const std::int64_t left = ldt - j;
      const auto filled = static_cast<__mmask16>(left < 16 ? (1u << left) - 1u : 0xFFFFu);
      __m256i bits;
      std::memcpy(&bits, &half, sizeof(bits));
      _mm256_mask_storeu_epi16(to + j, filled, bits);
    }
  }
}

void run(const LinearBf16Args& a, const Bf16Work& work, std::int64_t row_begin,
         std::int64_t row_end, std::int64_t panel_begin, std::int64_t panel_end) noexcept {
  const std::int64_t padded = bf16_padded(a.k);
  const DenseArgs<std::uint16_t, std::uint16_t> args{work.rows,  padded, a.packed, a.bias,
                                                     a.residual, a.ldr,  a.y,      a.ldy,
                                                     a.m,        a.n,    padded,   a.activation};
  linear_run<Dot>(args, row_begin, row_end, panel_begin, panel_end);
}

}  // namespace

extern const LinearBf16Kernel kLinearBf16Avx512Bf16;
const LinearBf16Kernel kLinearBf16Avx512Bf16{48, 9, round_rows, run};

}  // namespace tokenfuse
