// Instruction sets: what this machine runs, and which one is used.
#pragma once

#include <cstddef>

namespace tokenfuse {

// Each one has all that the ones before it have.
enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Vnni = 3, kAvx512Bf16 = 4 };
inline constexpr int kNumIsas = 5;

// "scalar", "avx2", "avx512", "avx512_vnni", "avx512_bf16".
const char* isa_name(Isa isa) noexcept;

// False for a name that is none of these.
bool isa_from_name(const char* name, Isa* isa) noexcept;

// Compiled in, and supported by the CPU and by the operating system's state saving.
bool isa_available(Isa isa) noexcept;

// The most capable available one that is worth it. AVX-512 with bf16 is that on AMD alone, where
// `vdpbf16ps` is issued as often as a float multiply-add and does twice the products (Zen 4, by
// published tables; not measured by us). On an Intel Sapphire Rapids it is issued a quarter as
// often: 95 GFLOP/s per thread beside 190, and layers of 4 rows and more ran at 0.5 to 0.9 of the
// speed of widening the weights.
Isa best_isa() noexcept;

enum class IsaChoice { kOk, kUnknownName, kNotAvailable };

// `name`, or TOKENFUSE_FORCE_ISA where name is null or empty, or the best where
// that is not set either.
IsaChoice choose_isa(const char* name, Isa* isa) noexcept;

}  // namespace tokenfuse
