// `smmla` multiplies two rows of 8 activations by two outputs of 8 weights, to 2 x 2 sums. A tile
// of sums is therefore kept in squares; only its ending has rows again.
#include "core/simd/neon.h"
#include "kernels/linear_int8/linear_int8_tile.h"

namespace tokenfuse {
namespace {

// A type of this file's own: what is compiled here over it, with these flags, is never linked
// into another variant.
struct Floats : neon::V {};

// What the ending needs.
struct Squares {
  using V = Floats;
  using Sums = int32x4_t;
  static V::T to_float(Sums sum) noexcept { return vcvtq_f32_s32(sum); }
};

constexpr int kRows = 6;
constexpr int kColumns = 4;                         // registers of a row of outputs
constexpr int kWidth = kColumns * neon::V::kLanes;  // outputs of a panel
constexpr int kGroup = 8;
constexpr int kPairs = kWidth / 2;  // of outputs: a register of weights each

// Activations [k, k + 8) of rows 2 p and 2 p + 1; zeros where R ends between them.
template <int R>
inline int8x16_t two_rows(const std::int8_t* q, std::int64_t ldq, int p) noexcept {
  const int8x8_t first = vld1_s8(q + 2 * p * ldq);
  if (2 * p + 1 == R) return vcombine_s8(first, vdup_n_s8(0));
  return vcombine_s8(first, vld1_s8(q + (2 * p + 1) * ldq));
}

template <int R>
inline void tile(const LinearInt8Args& a, std::int64_t row, std::int64_t panel) noexcept {
  constexpr int kRowPairs = (R + 1) / 2;
  const std::int64_t padded = int8_padded(a.k);
  const std::uint8_t* w = a.packed + panel * kWidth * padded;
  const std::int8_t* q = a.q + row * a.ldq;
  int32x4_t squares[kRowPairs][kPairs];
  for (int p = 0; p < kRowPairs; ++p) {
    for (int c = 0; c < kPairs; ++c) squares[p][c] = vdupq_n_s32(0);
  }
  for (std::int64_t k = 0; k < padded; k += kGroup, w += kWidth * kGroup) {
    int8x16_t value[kRowPairs];
    for (int p = 0; p < kRowPairs; ++p) value[p] = two_rows<R>(q + k, a.ldq, p);
    for (int c = 0; c < kPairs; ++c) {
      const int8x16_t weight = vreinterpretq_s8_u8(vld1q_u8(w + c * 2 * kGroup));
      for (int p = 0; p < kRowPairs; ++p) {
        squares[p][c] = vmmlaq_s32(squares[p][c], value[p], weight);
      }
    }
  }
  int32x4_t sums[R][kColumns];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < kColumns; ++c) {
      const int64x2_t left = vreinterpretq_s64_s32(squares[r / 2][2 * c]);
      const int64x2_t right = vreinterpretq_s64_s32(squares[r / 2][2 * c + 1]);
      sums[r][c] =
          vreinterpretq_s32_s64(r % 2 == 0 ? vzip1q_s64(left, right) : vzip2q_s64(left, right));
    }
  }
  linear_int8_store<Squares, R, kColumns>(a, row, panel * kWidth, sums);
}

void run(const LinearInt8Args& a, std::int64_t row_begin, std::int64_t row_end,
         std::int64_t panel_begin, std::int64_t panel_end) noexcept {
  // A panel stays in the first-level cache while all rows pass by.
  for (std::int64_t panel = panel_begin; panel < panel_end; ++panel) {
    for_row_tiles<kRows>(row_begin, row_end, [&](auto rows, std::int64_t row) {
      tile<decltype(rows)::value>(a, row, panel);
    });
  }
}

}  // namespace

// 3 x 8 squares + 3 of activations + 1 of weights: 28 of 32 registers; 14 loads for 24 products.
extern const LinearInt8Kernel kLinearInt8NeonI8mm;
const LinearInt8Kernel kLinearInt8NeonI8mm{kWidth, kRows, kGroup, 0, run};

}  // namespace tokenfuse
