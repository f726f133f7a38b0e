// Loader: half floats, tensors that are missing or of another shape, and the two passes.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/half.h"
#include "engine/weights.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

// A half float by its definition.
double half_value(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const double fraction = static_cast<double>(bits & 1023) / 1024.0;
  const double size = exponent == 31  ? (fraction == 0.0 ? HUGE_VAL : NAN)
                      : exponent == 0 ? std::ldexp(fraction, -14)
                                      : std::ldexp(1.0 + fraction, exponent - 15);
  return bits & 0x8000u ? -size : size;
}

void check_half() {
  set_case("half");
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const double got = half_to_float(static_cast<std::uint16_t>(bits)), want = half_value(bits);
    CHECK(std::isnan(want) ? std::isnan(got)
                           : got == want && std::signbit(got) == std::signbit(want));
  }
}

void check_refusals() {
  set_case("refusals");
  const Rows values = Rows::random(1, 1.0f, 1, 6);
  const TensorMap tensors{{"a.weight", {values.data(), false, {2, 3}}}};
  Arena plan;
  ThreadPool pool(1);
  Loader loader(tensors, {&linear_kernel(Isa::kScalar)}, plan, pool);
  CHECK(loader.read("a.weight", {2, 3}).size() == 6);
  CHECK_THROWS(std::invalid_argument, loader.read("a.bias", {2}));
  CHECK_THROWS(std::invalid_argument, loader.read("a.weight", {3, 2}));
  CHECK_THROWS(std::invalid_argument, loader.read("a.weight", {6}));
  CHECK_THROWS(std::invalid_argument, loader.read("a.weight", {}));
  CHECK_THROWS(std::invalid_argument, loader.read("a.weight", {2, 3, 1}));
  CHECK_THROWS(std::invalid_argument, loader.keep("a.weight", {2, 2}));
  CHECK_THROWS(std::invalid_argument, loader.linear("a", {""}, 3, 2, true));
}

// A file's tensors begin where its header ends: at any byte.
void check_any_alignment() {
  for (const bool half : {false, true}) {
    for (const std::size_t offset : {0, 1, 2, 3}) {
      set_case("half %d, offset %zu", half, offset);
      constexpr std::size_t kCount = 37;
      const std::size_t bytes = kCount * (half ? 2 : 4);
      const std::unique_ptr<unsigned char[]> memory(new unsigned char[offset + bytes]);
      std::vector<float> want(kCount);
      for (std::size_t i = 0; i < kCount; ++i) {
        const auto bits = static_cast<std::uint16_t>(0x3C00 + 5 * i);
        want[i] = half_to_float(bits);
        unsigned char* to = memory.get() + offset + i * (half ? 2 : 4);
        if (half) std::memcpy(to, &bits, 2);
        if (!half) std::memcpy(to, &want[i], 4);
      }
      const TensorMap tensors{{"a", {memory.get() + offset, half, {37}}}};
      const LinearKernel& kernel = linear_kernel(Isa::kScalar);
      ThreadPool pool(1);
      Arena plan, arena(64);
      CHECK(Loader(tensors, {&kernel}, arena, pool).read("a", {37}) == want);
      CHECK(Loader(tensors, {&kernel}, plan, pool).read("a", {37}) == std::vector<float>(37));
    }
  }
}

// What the plan counts is what loading takes, and several linears become one.
void check_passes(Isa isa) {
  set_case("%s, two passes", isa_name(isa));
  const LinearKernel& kernel = linear_kernel(isa);
  ThreadPool pool(2);
  const Rows q = Rows::random(1, 1.0f, 5, 7), k = Rows::random(2, 1.0f, 5, 7);
  const Rows bias_q = Rows::random(3, 1.0f, 1, 5), bias_k = Rows::random(4, 1.0f, 1, 5);
  const TensorMap tensors{{"a.q.weight", {q.data(), false, {5, 7}}},
                          {"a.k.weight", {k.data(), false, {5, 7}}},
                          {"a.q.bias", {bias_q.data(), false, {5}}},
                          {"a.k.bias", {bias_k.data(), false, {5}}}};
  Arena plan;
  Loader planner(tensors, {&kernel}, plan, pool);
  CHECK(planner.planning());
  CHECK(planner.linear("a", {"q", "k"}, 7, 5, true, 0.5f).packed == nullptr);
  Arena arena(plan.peak_bytes());
  const PackedLinear both =
      Loader(tensors, {&kernel}, arena, pool).linear("a", {"q", "k"}, 7, 5, true, 0.5f);
  CHECK(arena.peak_bytes() == plan.peak_bytes() && arena.peak_bytes() == arena.capacity_bytes());
  CHECK(both.num_in == 7 && both.num_out == 10);
  Rows w(10, 7), packed(1, static_cast<std::int64_t>(linear_packed_floats(kernel, 10, 7)));
  for (std::int64_t i = 0; i < 10; ++i) {
    const Rows& from = i < 5 ? q : k;
    for (std::int64_t j = 0; j < 7; ++j) w.at(i, j) = 0.5f * from.at(i % 5, j);
  }
  linear_pack(kernel, w.data(), 7, 10, 7, packed.data());
  CHECK(std::equal(packed.data(), packed.data() + packed.width(), both.packed));
  bool same = true;
  Arena plan_int8;
  const Packing packing{&kernel, &linear_int8_kernel(isa), quantize_kernel(isa)};
  Loader planner_int8(tensors, packing, plan_int8, pool);
  CHECK(planner_int8.linear("a", {"q", "k"}, 7, 5, true, 0.5f).packed_int8 == nullptr);
  Arena arena_int8(plan_int8.peak_bytes());
  const PackedLinear bytes =
      Loader(tensors, packing, arena_int8, pool).linear("a", {"q", "k"}, 7, 5, true, 0.5f);
  CHECK(arena_int8.peak_bytes() == plan_int8.peak_bytes());
  std::vector<std::int8_t> quantized(70);
  std::vector<float> scale(10);
  quantize_weights(packing.quantize, w.data(), w.stride(), 10, 7, quantized.data(), scale.data());
  std::vector<std::uint8_t> want(linear_int8_packed_bytes(*packing.int8, 10, 7));
  linear_int8_pack(*packing.int8, quantized.data(), 10, 7, want.data());
  CHECK(std::equal(want.begin(), want.end(), bytes.packed_int8));
  CHECK(std::equal(scale.begin(), scale.end(), bytes.scale));
  Arena plan_bf16;
  const Packing halves{&kernel, nullptr, nullptr, &linear_bf16_kernel(isa)};
  CHECK(Loader(tensors, halves, plan_bf16, pool).linear("a", {"q", "k"}, 7, 5, true, 0.5f).packed_bf16 ==
        nullptr);
  Arena arena_bf16(plan_bf16.peak_bytes());
  const PackedLinear half =
      Loader(tensors, halves, arena_bf16, pool).linear("a", {"q", "k"}, 7, 5, true, 0.5f);
  CHECK(arena_bf16.peak_bytes() == plan_bf16.peak_bytes());
  std::vector<std::uint16_t> want_bf16(linear_bf16_packed_count(*halves.bf16, 10, 7));
  linear_bf16_pack(*halves.bf16, w.data(), w.stride(), 10, 7, want_bf16.data());
  CHECK(std::equal(want_bf16.begin(), want_bf16.end(), half.packed_bf16));
  for (std::int64_t i = 0; i < 10; ++i) {
    same &= both.bias[i] == 0.5f * (i < 5 ? bias_q : bias_k).at(0, i % 5);
  }
  CHECK(same);
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_half();
  check_refusals();
  check_any_alignment();
  for (const tokenfuse::Isa isa : runnable_isas()) check_passes(isa);
  return finish("weights");
}
