// The variant of an op for an instruction set, from the op's const table.
#pragma once

#include "core/isa.h"

namespace tokenfuse {

// A table has one entry for each set of `kIsas`, in that order: the scalar one, and behind it
// those of the architecture that is compiled for. Sets may share an entry.
template <typename Variant, int N>
const Variant& variant_of(const Variant* const (&table)[N], Isa isa) noexcept {
  static_assert(N == kNumVariants, "a table of variants needs one entry for each set of kIsas");
  return *table[isa_rank(isa)];
}

}  // namespace tokenfuse
