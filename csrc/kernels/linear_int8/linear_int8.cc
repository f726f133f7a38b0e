#include "kernels/linear_int8/linear_int8.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "core/row_tasks.h"
#include "core/simd/scalar.h"
#include "core/thread_pool.h"
#include "core/variants.h"
#include "kernels/linear_int8/linear_int8_tile.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const LinearInt8Kernel kLinearInt8Avx2;
extern const LinearInt8Kernel kLinearInt8Avx512;
extern const LinearInt8Kernel kLinearInt8Avx512Vnni;
#elif defined(TOKENFUSE_ARM64)
extern const LinearInt8Kernel kLinearInt8Neon;
extern const LinearInt8Kernel kLinearInt8NeonDotprod;
extern const LinearInt8Kernel kLinearInt8NeonI8mm;
#endif

namespace {

struct Scalar {
  using V = scalar::V;
  using Sums = std::int32_t;
  using Weights = std::int32_t;
  using Values = std::int32_t;
  static constexpr int kGroup = 1;
  static constexpr int kOffset = 0;

  static Sums set1(std::int32_t a) noexcept { return a; }
  static Weights load(const std::uint8_t* w) noexcept { return static_cast<std::int8_t>(*w); }
  static Values broadcast(const std::int8_t* q) noexcept { return *q; }
  static Sums dot(Sums sum, Weights w, Values q) noexcept { return sum + w * q; }
  static Sums add(Sums a, Sums b) noexcept { return a + b; }
  static float to_float(Sums sum) noexcept { return static_cast<float>(sum); }
};

// 4 x 8 sums: what a compiler keeps in registers on any machine.
constexpr LinearInt8Kernel kScalar{8, 4, 1, 0, linear_int8_run<Scalar, 4, 8>};

const LinearInt8Kernel* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kLinearInt8Avx2, &kLinearInt8Avx512, &kLinearInt8Avx512Vnni, &kLinearInt8Avx512Vnni,
#elif defined(TOKENFUSE_ARM64)
    &kLinearInt8Neon,
    &kLinearInt8NeonDotprod,
    &kLinearInt8NeonI8mm,
#endif
};

}  // namespace

const LinearInt8Kernel& linear_int8_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

void quantize_weights(QuantizeFn quantize, const float* w, std::int64_t ldw, std::int64_t n,
                      std::int64_t k, std::int8_t* quantized, float* scale) noexcept {
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    quantize(w + i * ldw, ldw, quantized + i * k, k, scale + i, &sum, 1, k);
  }
}

namespace {

// The groups of a row that K fills, into their places in a panel; `signs` turns the sign bit of
// each byte, which adds an offset of 128.
template <int kGroup>
void place_groups(const std::int8_t* row, std::int64_t num_groups, std::uint64_t signs,
                  std::int64_t step, std::uint8_t* to) noexcept {
  for (std::int64_t g = 0; g < num_groups; ++g) {
    std::uint64_t together = 0;
    std::memcpy(&together, row + g * kGroup, kGroup);
    together ^= signs;
    std::memcpy(to + g * step, &together, kGroup);
  }
}

using PlaceGroups = void (*)(const std::int8_t*, std::int64_t, std::uint64_t, std::int64_t,
                             std::uint8_t*) noexcept;

PlaceGroups place_groups_of(int group) noexcept {
  switch (group) {
    case 1:
      return place_groups<1>;
    case 2:
      return place_groups<2>;
    case 4:
      return place_groups<4>;
    default:
      assert(group == 8);
      return place_groups<8>;
  }
}

}  // namespace

void linear_int8_pack(const LinearInt8Kernel& kernel, const std::int8_t* w, std::int64_t n,
                      std::int64_t k, std::uint8_t* packed) noexcept {
  const std::int64_t width = kernel.panel_width, group = kernel.group;
  const std::int64_t num_groups = int8_padded(k) / group, step = width * group;
  const PlaceGroups place = place_groups_of(kernel.group);
  assert(kernel.offset == 0 || kernel.offset == 128);
  const auto zero = static_cast<std::uint8_t>(kernel.offset);
  const std::uint64_t signs = kernel.offset == 0 ? 0 : 0x8080808080808080u;
  for (std::int64_t row = 0; row < linear_int8_num_panels(kernel, n) * width; ++row) {
    std::uint8_t* to = packed + row / width * step * num_groups + row % width * group;
    const std::int8_t* from = row < n ? w + row * k : nullptr;
    const std::int64_t used = row < n ? k : 0, whole = used / group;
    if (whole > 0) place(from, whole, signs, step, to);
    for (std::int64_t i = whole * group; i < num_groups * group; ++i) {
      to[i / group * step + i % group] =
          i < used ? static_cast<std::uint8_t>(from[i] + kernel.offset) : zero;
    }
  }
}

namespace {

// Quantises rows [begin, end) into their place and tells `args` where all of them are.
void quantize_into(QuantizeFn quantize, const float* x, std::int64_t ldx, const QuantizedRows& rows,
                   std::int64_t begin, std::int64_t end, LinearInt8Args& args) noexcept {
  args.q = rows.q;
  args.ldq = rows.ldq;
  args.scale = rows.scale;
  args.sum = rows.sum;
  quantize(x + begin * ldx, ldx, rows.q + begin * rows.ldq, rows.ldq, rows.scale + begin,
           rows.sum + begin, end - begin, args.k);
}

}  // namespace

void linear_int8_rows(const LinearInt8Kernel& kernel, QuantizeFn quantize, const float* x,
                      std::int64_t ldx, const QuantizedRows& rows, LinearInt8Args args) noexcept {
  quantize_into(quantize, x, ldx, rows, 0, args.m, args);
  kernel.run(args, 0, args.m, 0, linear_int8_num_panels(kernel, args.n));
}

void linear_int8(const LinearInt8Kernel& kernel, QuantizeFn quantize, const float* x,
                 std::int64_t ldx, const QuantizedRows& rows, LinearInt8Args args,
                 ThreadPool& pool) noexcept {
  if (args.m <= 0 || args.n <= 0) return;
  const std::int64_t num_panels = linear_int8_num_panels(kernel, args.n);
  const int num_threads = pool.num_threads();
  // Sharing a product costs a microsecond or two: below that much work (at some 200 GMAC/s per
  // core) one thread is faster. Few rows wait for their weights, as long as four would compute.
  constexpr std::int64_t kMinMacs = 512 * 1024, kLeastRows = 4;
  if (num_threads == 1 || std::max(args.m, kLeastRows) * args.n * args.k < kMinMacs) {
    linear_int8_rows(kernel, quantize, x, ldx, rows, args);
    return;
  }
  // Sums are exact: tiles of any height give the same bits.
  const RowTasks tasks = row_tasks(args.m, kernel.tile_rows, 1, num_threads);
  if (tasks.count > 1) {
    // Rows alone: a thread quantises those that it multiplies, and they are still in its cache.
    pool.parallel_for(tasks.count, [&](std::int64_t task, int) {
      const std::int64_t begin = tasks.begin(task), end = tasks.begin(task + 1);
      LinearInt8Args own = args;
      quantize_into(quantize, x, ldx, rows, begin, end, own);
      kernel.run(own, begin, end, 0, num_panels);
    });
    return;
  }
  // Few rows: all of them at once, and the weights split.
  quantize_into(quantize, x, ldx, rows, 0, args.m, args);
  const std::int64_t parts = std::min<std::int64_t>(num_panels, num_threads * 4);
  pool.parallel_for(parts, [&](std::int64_t part, int) {
    kernel.run(args, 0, args.m, num_panels * part / parts, num_panels * (part + 1) / parts);
  });
}

}  // namespace tokenfuse
