// Loader: half floats, tensors that are missing or of another shape, and the two passes.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>

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
  std::vector<std::uint16_t> all(65536);
  for (std::size_t bits = 0; bits < all.size(); ++bits)
    all[bits] = static_cast<std::uint16_t>(bits);
  // One by one and in vectors.
  std::vector<float> together(all.size());
  halves_to_floats(all.data(), all.size(), together.data());
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float one = half_to_float(static_cast<std::uint16_t>(bits));
    CHECK(std::memcmp(&one, &together[bits], sizeof(one)) == 0);
    const double got = one, want = half_value(bits);
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

// The sums of an 8-bit product are 32 bits: what could leave them is refused when it is planned.
void check_longest_int8() {
  set_case("the longest int8 linear");
  const auto longest = static_cast<std::size_t>(kInt8MaxK);
  const std::vector<float> weight(longest + 1, 1.0f);
  const TensorMap tensors;
  Arena plan;
  ThreadPool pool(1);
  Packing packing{&linear_kernel(Isa::kScalar), &linear_int8_kernel(Isa::kScalar)};
  packing.quantize = quantize_kernel(Isa::kScalar);
  Loader loader(tensors, packing, plan, pool);
  CHECK(loader.pack(weight, {}, kInt8MaxK, 1).num_in == kInt8MaxK);
  CHECK_THROWS(std::invalid_argument, loader.pack(weight, {}, kInt8MaxK + 1, 1));
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

// What the plan counts is what loading takes; several linears become one, whose bits are those of
// packing it whole, however many threads pack its panels.
void check_passes(Isa isa, std::int64_t n, std::int64_t k, int num_threads) {
  set_case("%s, two passes, %d of %d, %d threads", isa_name(isa), static_cast<int>(n),
           static_cast<int>(k), num_threads);
  const LinearKernel& kernel = linear_kernel(isa);
  ThreadPool pool(num_threads);
  const std::int64_t joined = 2 * n;
  const Rows query = Rows::random(1, 1.0f, n, k), key = Rows::random(2, 1.0f, n, k);
  const Rows bias_query = Rows::random(3, 1.0f, 1, n), bias_key = Rows::random(4, 1.0f, 1, n);
  const TensorMap tensors{{"a.q.weight", {query.data(), false, {n, k}}},
                          {"a.k.weight", {key.data(), false, {n, k}}},
                          {"a.q.bias", {bias_query.data(), false, {n}}},
                          {"a.k.bias", {bias_key.data(), false, {n}}}};
  Rows w(joined, k);
  for (std::int64_t i = 0; i < joined; ++i) {
    const Rows& from = i < n ? query : key;
    for (std::int64_t j = 0; j < k; ++j) w.at(i, j) = 0.5f * from.at(i % n, j);
  }
  // Packs after a plan, into an arena of the planned size.
  std::unique_ptr<Arena> arena;
  const auto load = [&](const Packing& packing) {
    Arena plan;
    Loader planner(tensors, packing, plan, pool);
    CHECK(planner.planning());
    const PackedLinear planned = planner.linear("a", {"q", "k"}, k, n, true, 0.5f);
    CHECK(planned.packed == nullptr && planned.packed_int8 == nullptr &&
          planned.packed_bf16 == nullptr);
    arena = std::make_unique<Arena>(plan.peak_bytes());
    const PackedLinear both =
        Loader(tensors, packing, *arena, pool).linear("a", {"q", "k"}, k, n, true, 0.5f);
    CHECK(arena->peak_bytes() == plan.peak_bytes() &&
          arena->peak_bytes() == arena->capacity_bytes());
    CHECK(both.num_in == k && both.num_out == joined);
    bool same = true;
    for (std::int64_t i = 0; i < joined; ++i) {
      same &= both.bias[i] == 0.5f * (i < n ? bias_query : bias_key).at(0, i % n);
    }
    CHECK(same);
    return both;
  };
  Rows packed(1, static_cast<std::int64_t>(linear_packed_floats(kernel, joined, k)));
  linear_pack(kernel, w.data(), k, joined, k, packed.data());
  CHECK(std::equal(packed.data(), packed.data() + packed.width(), load({&kernel}).packed));

  const Packing bytes{&kernel, &linear_int8_kernel(isa), quantize_kernel(isa)};
  const auto count = static_cast<std::size_t>(joined);
  std::vector<std::int8_t> quantized(count * static_cast<std::size_t>(k));
  std::vector<float> scale(count);
  quantize_weights(bytes.quantize, w.data(), w.stride(), joined, k, quantized.data(), scale.data());
  std::vector<std::uint8_t> want(linear_int8_packed_bytes(*bytes.int8, joined, k));
  linear_int8_pack(*bytes.int8, quantized.data(), joined, k, want.data());
  const PackedLinear int8 = load(bytes);
  CHECK(std::equal(want.begin(), want.end(), int8.packed_int8));
  CHECK(std::equal(scale.begin(), scale.end(), int8.scale));

  const Packing halves{&kernel, nullptr, nullptr, &linear_bf16_kernel(isa)};
  std::vector<std::uint16_t> want_bf16(linear_bf16_packed_count(*halves.bf16, joined, k));
  linear_bf16_pack(*halves.bf16, w.data(), w.stride(), joined, k, want_bf16.data());
  CHECK(std::equal(want_bf16.begin(), want_bf16.end(), load(halves).packed_bf16));
}

// Rows as the file has them, widened exactly.
void check_table() {
  constexpr std::int64_t kRows = 5, kWidth = 13;
  constexpr std::size_t kCount = kRows * kWidth;
  std::vector<float> floats(kCount);
  std::vector<std::uint16_t> halves(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    halves[i] = static_cast<std::uint16_t>(0x3C00 + 5 * i);
    floats[i] = half_to_float(halves[i]);
  }
  ThreadPool pool(1);
  for (const bool half : {false, true}) {
    set_case("table, half %d", half);
    const void* data = half ? static_cast<const void*>(halves.data()) : floats.data();
    const TensorMap tensors{{"a", {data, half, {kRows, kWidth}}}};
    Arena plan;
    CHECK(Loader(tensors, {&linear_kernel(Isa::kScalar)}, plan, pool)
              .table("a", kRows, kWidth)
              .data == nullptr);
    CHECK(plan.peak_bytes() == (half ? 192 : 320));  // 130 and 260 bytes, in whole lines
    Arena arena(plan.peak_bytes());
    Loader loader(tensors, {&linear_kernel(Isa::kScalar)}, arena, pool);
    const Table table = loader.table("a", kRows, kWidth);
    CHECK_THROWS(std::invalid_argument, loader.table("a", kWidth, kRows));
    for (std::int64_t row = 0; row < kRows; ++row) {
      Rows got(1, kWidth);
      table.copy_row(row, got.data());
      CHECK(std::equal(got.data(), got.data() + kWidth, floats.begin() + row * kWidth));
    }
  }
}

// Bytes of a mapping that this process has in memory, in whole pages; -1 where the system does not
// tell. `mincore` would tell what the system has, for whoever mapped it.
long resident_bytes(const void* mapping) {
  std::ifstream smaps("/proc/self/smaps");
  const auto address = reinterpret_cast<std::uintptr_t>(mapping);
  bool own = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long begin = 0, end = 0;
    long kilobytes = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) own = begin == address;
    if (own && std::sscanf(line.c_str(), "Rss: %ld kB", &kilobytes) == 1) return 1024 * kilobytes;
  }
  return -1;
}

// A tensor of a mapped file: its pages go when they were read, and come back with what they held.
void check_mapped() {
  set_case("mapped");
  constexpr std::int64_t kOut = 700, kIn = 801;
  const Rows values = Rows::random(1, 1.0f, kOut, kIn);
  const std::size_t bytes = sizeof(float) * kOut * kIn, offset = 12;
  std::FILE* file = std::tmpfile();
  CHECK(file != nullptr && std::fseek(file, static_cast<long>(offset), SEEK_SET) == 0 &&
        std::fwrite(values.data(), 1, bytes, file) == bytes && std::fflush(file) == 0);
  void* mapping = mmap(nullptr, offset + bytes, PROT_READ, MAP_SHARED, fileno(file), 0);
  CHECK(mapping != MAP_FAILED);
  const void* begin = static_cast<const unsigned char*>(mapping) + offset;
  const TensorMap plain{{"a.weight", {values.data(), false, {kOut, kIn}}}};
  const TensorMap mapped{{"a.weight", {begin, false, {kOut, kIn}, true}}};
  ThreadPool pool(2);
  const LinearKernel& kernel = linear_kernel(Isa::kScalar);
  const std::size_t count = linear_packed_floats(kernel, kOut, kIn);
  Arena want_arena(count * sizeof(float)), got_arena(count * sizeof(float));
  const float* want =
      Loader(plain, {&kernel}, want_arena, pool).linear("a", {""}, kIn, kOut, false).packed;
  Loader loader(mapped, {&kernel}, got_arena, pool);
  CHECK(std::memcmp(begin, values.data(), bytes) == 0);
  // Not under an emulator, whose list of mappings may say nothing of pages.
  const bool counts = resident_bytes(mapping) >= static_cast<long>(bytes);
  if (!counts) std::fprintf(stderr, "weights: no Rss in /proc/self/smaps: pages are not counted\n");
  CHECK(std::equal(want, want + count, loader.linear("a", {""}, kIn, kOut, false).packed));
  // Of the page that two windows share, the system maps what is around: since Linux 6.18 megabytes.
  CHECK(!counts || resident_bytes(mapping) < static_cast<long>(bytes));
  CHECK(std::memcmp(begin, values.data(), bytes) == 0);
  CHECK(!counts || resident_bytes(mapping) >= static_cast<long>(bytes));
  loader.give_back();
  CHECK(!counts || resident_bytes(mapping) == 0);
  CHECK(std::memcmp(begin, values.data(), bytes) == 0);
  munmap(mapping, offset + bytes);
  std::fclose(file);
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_half();
  check_refusals();
  check_longest_int8();
  check_any_alignment();
  check_table();
  check_mapped();
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_passes(isa, 5, 7, 1);
    // More than a window of the file, parts that end within a panel.
    for (const int num_threads : {1, 3}) check_passes(isa, 700, 801, num_threads);
  }
  return finish("weights");
}
