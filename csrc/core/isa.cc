#include "core/isa.h"

#include <cstdlib>
#include <cstring>

namespace tokenfuse {
namespace {

constexpr const char* kNames[kNumIsas] = {"scalar", "avx2", "avx512", "avx512_vnni", "avx512_bf16"};

}  // namespace

const char* isa_name(Isa isa) noexcept { return kNames[static_cast<int>(isa)]; }

bool isa_from_name(const char* name, Isa* isa) noexcept {
  for (int i = 0; i < kNumIsas; ++i) {
    if (std::strcmp(name, kNames[i]) == 0) {
      *isa = static_cast<Isa>(i);
      return true;
    }
  }
  return false;
}

bool isa_available(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  // The builtins check CPUID and, through XGETBV, that the OS saves the registers.
  if (isa == Isa::kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::kAvx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
  if (isa == Isa::kAvx512Vnni) {
    return isa_available(Isa::kAvx512) && __builtin_cpu_supports("avx512vnni");
  }
  if (isa == Isa::kAvx512Bf16) {
    return isa_available(Isa::kAvx512Vnni) && __builtin_cpu_supports("avx512bf16");
  }
#endif
  return isa == Isa::kScalar;
}

namespace {

bool worth_it(Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa == Isa::kAvx512Bf16) return __builtin_cpu_is("amd") != 0;
#endif
  return true;
}

}  // namespace

Isa best_isa() noexcept {
  for (int i = kNumIsas - 1; i > 0; --i) {
    const Isa isa = static_cast<Isa>(i);
    if (isa_available(isa) && worth_it(isa)) return isa;
  }
  return Isa::kScalar;
}

IsaChoice choose_isa(const char* name, Isa* isa) noexcept {
  if (name == nullptr || *name == '\0') name = std::getenv("TOKENFUSE_FORCE_ISA");
  if (name == nullptr || *name == '\0') {
    *isa = best_isa();
    return IsaChoice::kOk;
  }
  if (!isa_from_name(name, isa)) return IsaChoice::kUnknownName;
  return isa_available(*isa) ? IsaChoice::kOk : IsaChoice::kNotAvailable;
}

}  // namespace tokenfuse
