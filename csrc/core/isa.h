// Instruction sets: what this machine runs, and which one is used.
#pragma once

#include <cstddef>

namespace tokenfuse {

// Each one has all that the ones before it have.
enum class Isa { kScalar = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Vnni = 3 };
inline constexpr int kNumIsas = 4;

// "scalar", "avx2", "avx512", "avx512_vnni".
const char* isa_name(Isa isa) noexcept;

// False for a name that is none of these.
bool isa_from_name(const char* name, Isa* isa) noexcept;

// Compiled in, and supported by the CPU and by the operating system's state saving.
bool isa_available(Isa isa) noexcept;

// The most capable available one.
Isa best_isa() noexcept;

enum class IsaChoice { kOk, kUnknownName, kNotAvailable };

// `name`, or TOKENFUSE_FORCE_ISA where name is null or empty, or the best where
// that is not set either.
IsaChoice choose_isa(const char* name, Isa* isa) noexcept;

}  // namespace tokenfuse
