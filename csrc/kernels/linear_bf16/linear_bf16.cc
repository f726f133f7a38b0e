#include "kernels/linear_bf16/linear_bf16.h"

#include <algorithm>
#include <cstring>

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/linear/linear_split.h"
#include "kernels/linear_bf16/linear_bf16_tile.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const LinearBf16Kernel kLinearBf16Avx2;
extern const LinearBf16Kernel kLinearBf16Avx512;
extern const LinearBf16Kernel kLinearBf16Avx512Bf16;
#elif defined(TOKENFUSE_ARM64)
extern const LinearBf16Kernel kLinearBf16Neon;
#endif

namespace {

// 4 x 8 sums: what a compiler keeps in registers on any machine.
constexpr LinearBf16Kernel kScalar{8, 4, nullptr, linear_bf16_run<scalar::V, 4, 8>};

const LinearBf16Kernel* const kVariants[] = {
    &kScalar,
#if defined(TOKENFUSE_X86)
    &kLinearBf16Avx2, &kLinearBf16Avx512, &kLinearBf16Avx512, &kLinearBf16Avx512Bf16,
#elif defined(TOKENFUSE_ARM64)
    &kLinearBf16Neon,
    &kLinearBf16Neon,
    &kLinearBf16Neon,
#endif
};

// Floats of a thread's widened panel: whole cache lines.
std::int64_t panel_floats(const LinearBf16Kernel& kernel, std::int64_t k) noexcept {
  return (kernel.panel_width * k + 15) / 16 * 16;
}

}  // namespace

const LinearBf16Kernel& linear_bf16_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

std::uint16_t float_to_bf16(float value) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  // Rounding could carry a NaN's fraction into infinity.
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

void linear_bf16_pack(const LinearBf16Kernel& kernel, const float* w, std::int64_t ldw,
                      std::int64_t n, std::int64_t k, std::uint16_t* packed) noexcept {
  const std::int64_t width = kernel.panel_width, num_pairs = bf16_padded(k) / kBf16Group;
  static_assert(kBf16Group == 2, "a pair is written");
  for (std::int64_t row = 0; row < linear_bf16_num_panels(kernel, n) * width; ++row) {
    std::uint16_t* to = packed + row / width * width * bf16_padded(k) + row % width * kBf16Group;
    const std::int64_t whole = row < n ? k / kBf16Group : 0;
    for (std::int64_t pair = 0; pair < whole; ++pair) {
      const float* from = w + row * ldw + pair * kBf16Group;
      to[pair * width * kBf16Group] = float_to_bf16(from[0]);
      to[pair * width * kBf16Group + 1] = float_to_bf16(from[1]);
    }
    for (std::int64_t pair = whole; pair < num_pairs; ++pair) {
      const bool has_one = row < n && pair * kBf16Group < k;
      to[pair * width * kBf16Group] = has_one ? float_to_bf16(w[row * ldw + k - 1]) : 0;
      to[pair * width * kBf16Group + 1] = 0;
    }
  }
}

std::size_t linear_bf16_scratch_bytes(const LinearBf16Kernel& kernel, std::int64_t m,
                                      std::int64_t k, int num_threads) noexcept {
  if (kernel.round != nullptr) {
    return static_cast<std::size_t>(m * bf16_padded(k)) * sizeof(std::uint16_t);
  }
  return static_cast<std::size_t>(panel_floats(kernel, k) * num_threads) * sizeof(float);
}

void linear_bf16_rows(const LinearBf16Kernel& kernel, const LinearBf16Args& args,
                      void* scratch) noexcept {
  Bf16Work work{static_cast<float*>(scratch), nullptr};
  if (kernel.round != nullptr) {
    auto* rows = static_cast<std::uint16_t*>(scratch);
    kernel.round(args.x, args.ldx, rows, bf16_padded(args.k), args.m, args.k);
    work = {nullptr, rows};
  }
  kernel.run(args, work, 0, args.m, 0, linear_bf16_num_panels(kernel, args.n));
}

void linear_bf16(const LinearBf16Kernel& kernel, const LinearBf16Args& args, void* scratch,
                 ThreadPool& pool) noexcept {
  if (args.m <= 0 || args.n <= 0) return;
  auto* panels = static_cast<float*>(scratch);
  std::uint16_t* rows = nullptr;
  if (kernel.round != nullptr) {
    rows = static_cast<std::uint16_t*>(scratch);
    const std::int64_t ldt = bf16_padded(args.k);
    const auto round = [&](std::int64_t begin, std::int64_t end) {
      kernel.round(args.x + begin * args.ldx, args.ldx, rows + begin * ldt, ldt, end - begin,
                   args.k);
    };
    // As for the products, a few microseconds of work are not worth a second thread.
    constexpr std::int64_t kMinElements = 64 * 1024;
    const std::int64_t tasks = args.m * args.k < kMinElements ? 1 : pool.num_threads();
    if (tasks == 1) {
      round(0, args.m);
    } else {
      pool.parallel_for(tasks, [&](std::int64_t task, int) {
        round(args.m * task / tasks, args.m * (task + 1) / tasks);
      });
    }
  }
  // Each part of the rows widens the weights again.
  const std::int64_t least_tiles = rows == nullptr ? 8 : 1;
  linear_split(kernel.tile_rows, least_tiles, linear_bf16_num_panels(kernel, args.n), args, pool,
               [&](std::int64_t row_begin, std::int64_t row_end, std::int64_t panel_begin,
                   std::int64_t panel_end, int thread) {
                 Bf16Work work{nullptr, rows};
                 if (rows == nullptr) work.panel = panels + panel_floats(kernel, args.k) * thread;
                 kernel.run(args, work, row_begin, row_end, panel_begin, panel_end);
               });
}

}  // namespace tokenfuse
