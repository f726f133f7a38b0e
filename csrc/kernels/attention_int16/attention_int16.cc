#include "kernels/attention_int16/attention_int16.h"

#include "core/simd/scalar_words.h"
#include "core/variants.h"
#include "kernels/attention_int16/attention_int16_rows.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const AttentionInt16Fn kAttentionInt16Avx2;
extern const AttentionInt16Fn kAttentionInt16Avx512;
extern const AttentionInt16Fn kAttentionInt16Avx512Vnni;
#elif defined(TOKENFUSE_ARM64)
extern const AttentionInt16Fn kAttentionInt16Neon;
#endif

namespace {

constexpr AttentionInt16Fn kScalar = attention_int16_rows<scalar::Words, 4, 8>;

const AttentionInt16Fn* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kAttentionInt16Avx2,
    &kAttentionInt16Avx512,
    &kAttentionInt16Avx512Vnni,
    &kAttentionInt16Avx512Vnni,
#elif defined(TOKENFUSE_ARM64)
    &kAttentionInt16Neon,
    &kAttentionInt16Neon,
    &kAttentionInt16Neon,
#endif
};

}  // namespace

AttentionInt16Fn attention_int16_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

AttentionInt16Layout::AttentionInt16Layout(std::int64_t num_keys, std::int64_t head_dim) noexcept {
  const auto rounded = [](std::int64_t n) { return (n + kPadding - 1) / kPadding * kPadding; };
  keys = rounded(num_keys);
  pairs = rounded((head_dim + 1) / 2);
  columns = rounded(head_dim);
  std::size_t used = 0;
  const auto words = [&](std::int64_t count) {
    const std::size_t at = used;
    used += static_cast<std::size_t>((count + 15) / 16 * 16) * sizeof(std::int32_t);
    return at;
  };
  packed_keys = words(keys * pairs);
  packed_values = words(keys / 2 * columns);
  value_scale = words(columns);
  rows = words(kPadding * pairs);
  scores = words(kMaxRows * keys);
  queries = words(kMaxRows * pairs);
  weights = words(kMaxRows * keys / 2);
  total = used;
}

}  // namespace tokenfuse
