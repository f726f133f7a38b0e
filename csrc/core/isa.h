// Instruction sets: what this machine runs, and which one is used.
#pragma once

#include <cstddef>

namespace tokenfuse {

// Scalar is everywhere; behind it stands one list per architecture. In its list, each set has all
// that the ones before it have.
enum class Isa {
  kScalar,
  // x86-64
  kAvx2,
  kAvx512,
  kAvx512Vnni,
  kAvx512Bf16,
  // Arm64
  kNeon,
  kNeonDotprod,
  kNeonI8mm,
};
inline constexpr int kNumIsas = 8;

// The sets of the architecture that is compiled for, worst first.
inline constexpr Isa kIsas[] = {
    Isa::kScalar,
#if defined(TOKENFUSE_X86)
    Isa::kAvx2,   Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16,
#elif defined(TOKENFUSE_ARM64)
    Isa::kNeon,
    Isa::kNeonDotprod,
    Isa::kNeonI8mm,
#endif
};
inline constexpr int kNumVariants = static_cast<int>(sizeof(kIsas) / sizeof(kIsas[0]));

// Its place in `kIsas`; that of scalar where it belongs to another architecture.
constexpr int isa_rank(Isa isa) noexcept {
  for (int i = 0; i < kNumVariants; ++i) {
    if (kIsas[i] == isa) return i;
  }
  return 0;
}

// "scalar", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "neon", "neon_dotprod",
// "neon_i8mm".
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
