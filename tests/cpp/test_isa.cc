// Instruction sets: names, what runs here, the override, and that each name has its own code.
#include <algorithm>
#include <cstdlib>

#include "core/isa.h"
#include "kernels/attention/attention.h"
#include "kernels/attention_int16/attention_int16.h"
#include "kernels/gated_add/gated_add.h"
#include "kernels/gelu/gelu.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/linear/linear.h"
#include "kernels/linear_bf16/linear_bf16.h"
#include "kernels/linear_int8/linear_int8.h"
#include "kernels/log_sum_exp/log_sum_exp.h"
#include "kernels/merge_attention/merge_attention.h"
#include "kernels/quantize/quantize.h"
#include "kernels/rms_norm/rms_norm.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

constexpr char kForce[] = "TOKENFUSE_FORCE_ISA";

void check_names() {
  set_case("names");
  for (int i = 0; i < kNumIsas; ++i) {
    Isa isa = Isa::kScalar;
    CHECK(isa_from_name(isa_name(static_cast<Isa>(i)), &isa) && isa == static_cast<Isa>(i));
  }
  for (const char* name : {"", "AVX2", "avx", "avx5120", "neon_", "NEON", " avx2"}) {
    Isa isa = Isa::kAvx512;
    CHECK(!isa_from_name(name, &isa) && isa == Isa::kAvx512);
  }
}

void check_available() {
  set_case("what runs here");
  CHECK(isa_available(Isa::kScalar));
  CHECK(isa_available(best_isa()));
  // The bf16 dot product alone may be there without being worth it.
  for (int i = isa_rank(best_isa()) + 1; i < kNumVariants; ++i) {
    CHECK(!isa_available(kIsas[i]) || kIsas[i] == Isa::kAvx512Bf16);
  }
  // Set where the CPU is known: under emulation.
  if (const char* expected = std::getenv("TOKENFUSE_EXPECT_ISA")) {
    set_case("%s is the best", expected);
    Isa isa = Isa::kScalar;
    CHECK(isa_from_name(expected, &isa) && best_isa() == isa);
  }
  set_case("what belongs to another architecture");
  for (int i = 1; i < kNumIsas; ++i) {
    const Isa isa = static_cast<Isa>(i);
    const bool ours = isa_rank(isa) != 0;
    CHECK(ours || !isa_available(isa));
    CHECK(ours || linear_kernel(isa).run == linear_kernel(Isa::kScalar).run);
  }
#if defined(TOKENFUSE_X86)
  const bool amd = __builtin_cpu_is("amd") != 0;
  CHECK((best_isa() == Isa::kAvx512Bf16) == (amd && isa_available(Isa::kAvx512Bf16)));
#endif
}

void check_choice() {
  Isa isa = Isa::kAvx512;
  unsetenv(kForce);
  set_case("no name, no override");
  CHECK(choose_isa(nullptr, &isa) == IsaChoice::kOk && isa == best_isa());
  CHECK(choose_isa("", &isa) == IsaChoice::kOk && isa == best_isa());
  CHECK(choose_isa("mmx", &isa) == IsaChoice::kUnknownName);
  setenv(kForce, "", 1);
  set_case("an empty override");
  CHECK(choose_isa(nullptr, &isa) == IsaChoice::kOk && isa == best_isa());
  setenv(kForce, "mmx", 1);
  set_case("an unknown override");
  CHECK(choose_isa("", &isa) == IsaChoice::kUnknownName);
  CHECK(choose_isa("scalar", &isa) == IsaChoice::kOk && isa == Isa::kScalar);
  for (int i = 0; i < kNumIsas; ++i) {
    const Isa one = static_cast<Isa>(i);
    set_case("%s", isa_name(one));
    const IsaChoice want = isa_available(one) ? IsaChoice::kOk : IsaChoice::kNotAvailable;
    unsetenv(kForce);
    CHECK(choose_isa(isa_name(one), &isa) == want && isa == one);
    setenv(kForce, isa_name(one), 1);
    CHECK(choose_isa(nullptr, &isa) == want && isa == one);
    // A name goes before the override.
    CHECK(choose_isa("scalar", &isa) == IsaChoice::kOk && isa == Isa::kScalar);
  }
  unsetenv(kForce);
}

// AVX-512 with VNNI has code of its own for integer products alone, and with bf16 for those of
// bfloat16; NEON's dot products and i8mm for 8-bit ones alone.
bool both_from(Isa first, Isa a, Isa b) {
  return isa_rank(first) != 0 && std::min(isa_rank(a), isa_rank(b)) >= isa_rank(first);
}
bool share_floats(Isa a, Isa b) {
  return both_from(Isa::kAvx512, a, b) || both_from(Isa::kNeon, a, b);
}
bool share_int8(Isa a, Isa b) { return both_from(Isa::kAvx512Vnni, a, b); }
bool share_int16(Isa a, Isa b) { return share_int8(a, b) || both_from(Isa::kNeon, a, b); }
bool share_bf16(Isa a, Isa b) {
  return share_floats(a, b) && a != Isa::kAvx512Bf16 && b != Isa::kAvx512Bf16;
}

// A forced variant is code of its own: no table falls back to another one's.
void check_variants_differ() {
  const auto isas = runnable_isas();
  for (const Isa a : isas) {
    for (const Isa b : isas) {
      if (a == b) continue;
      set_case("%s and %s", isa_name(a), isa_name(b));
      CHECK((linear_int8_kernel(a).run == linear_int8_kernel(b).run) == share_int8(a, b));
      CHECK((attention_int16_kernel(a) == attention_int16_kernel(b)) == share_int16(a, b));
      CHECK((linear_bf16_kernel(a).run == linear_bf16_kernel(b).run) == share_bf16(a, b));
      if (share_floats(a, b)) {
        CHECK(linear_kernel(a).run == linear_kernel(b).run);
        CHECK(quantize_kernel(a) == quantize_kernel(b));
        continue;
      }
      CHECK(quantize_kernel(a) != quantize_kernel(b));
      CHECK(linear_kernel(a).run != linear_kernel(b).run);
      CHECK(layer_norm_kernel(a) != layer_norm_kernel(b));
      CHECK(rms_norm_kernel(a) != rms_norm_kernel(b));
      CHECK(log_sum_exp_kernel(a) != log_sum_exp_kernel(b));
      CHECK(gelu_kernel(a) != gelu_kernel(b));
      CHECK(gated_add_kernel(a) != gated_add_kernel(b));
      CHECK(attention_kernel(a) != attention_kernel(b));
      CHECK(merge_attention_kernel(a).run != merge_attention_kernel(b).run);
      CHECK(merge_attention_kernel(a).weights != merge_attention_kernel(b).weights);
    }
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  tokenfuse::test::check_names();
  tokenfuse::test::check_available();
  tokenfuse::test::check_choice();
  tokenfuse::test::check_variants_differ();
  return tokenfuse::test::finish("isa");
}
