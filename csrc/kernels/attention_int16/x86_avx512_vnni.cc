#include "core/simd/avx512_words.h"
#include "kernels/attention_int16/attention_int16_rows.h"

namespace tokenfuse {
namespace {

struct Vnni : avx512::Words {
  // As an instruction of our own: GCC 12 moves the intrinsic's sums to the stack and back.
  static T dot(T sum, T a, T b) noexcept {
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }
};

}  // namespace

// 14 x 2 sums, 2 vectors and 1 broadcast: 31 of 32 registers, and 196 = 14 x 14 rows.
extern const AttentionInt16Fn kAttentionInt16Avx512Vnni;
const AttentionInt16Fn kAttentionInt16Avx512Vnni = attention_int16_rows<Vnni, 14, 2>;

}  // namespace tokenfuse
