#include "core/isa.h"

#include <cstdlib>
#include <cstring>

#if defined(TOKENFUSE_ARM64) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(TOKENFUSE_ARM64) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace tokenfuse {
namespace {

constexpr const char* kNames[kNumIsas] = {"scalar",      "avx2", "avx512",       "avx512_vnni",
                                          "avx512_bf16", "neon", "neon_dotprod", "neon_i8mm"};

#if defined(TOKENFUSE_ARM64)
struct ArmFeatures {
  bool dotprod, i8mm;
};

#if defined(__APPLE__)
bool has(const char* name) noexcept {
  int value = 0;
  std::size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

ArmFeatures arm_features() noexcept {
  return {has("hw.optional.arm.FEAT_DotProd"), has("hw.optional.arm.FEAT_I8MM")};
}
#elif defined(__linux__)
// Bits of the kernel's documented interface (arm64/elf_hwcaps); older headers lack the names.
constexpr unsigned long kHwcapAsimdDp = 1ul << 20;
constexpr unsigned long kHwcap2I8mm = 1ul << 13;

ArmFeatures arm_features() noexcept {
  return {(getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0, (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0};
}
#else
ArmFeatures arm_features() noexcept { return {false, false}; }
#endif
#endif

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
#elif defined(TOKENFUSE_ARM64)
  // Every system for Arm64 has NEON in its calling convention.
  if (isa == Isa::kNeon) return true;
  if (isa == Isa::kNeonDotprod) return arm_features().dotprod;
  if (isa == Isa::kNeonI8mm) return arm_features().dotprod && arm_features().i8mm;
#endif
  return isa == Isa::kScalar;
}

namespace {

bool worth_it([[maybe_unused]] Isa isa) noexcept {
#if defined(TOKENFUSE_X86)
  if (isa == Isa::kAvx512Bf16) return __builtin_cpu_is("amd") != 0;
#endif
  return true;
}

}  // namespace

Isa best_isa() noexcept {
  for (int i = kNumVariants - 1; i > 0; --i) {
    const Isa isa = kIsas[i];
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
