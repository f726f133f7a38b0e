#include "kernels/linear/linear.h"

#include <algorithm>

#include "core/simd/scalar.h"
#include "core/thread_pool.h"
#include "core/variants.h"
#include "kernels/linear/linear_tile.h"

namespace tokenfuse {

#if defined(TOKENFUSE_X86)
extern const LinearKernel kLinearAvx2;
extern const LinearKernel kLinearAvx512;
#elif defined(TOKENFUSE_ARM64)
extern const LinearKernel kLinearNeon;
#endif

namespace {

// 4 x 8 sums: what a compiler keeps in registers on any machine.
constexpr LinearKernel kLinearScalar{8, 4, linear_run<scalar::V, 4, 8>};

const LinearKernel* const kVariants[] = {
    &kLinearScalar,
#if defined(TOKENFUSE_X86)
    &kLinearAvx2,
    &kLinearAvx512,
    &kLinearAvx512,
#elif defined(TOKENFUSE_ARM64)
    &kLinearNeon,
    &kLinearNeon,
    &kLinearNeon,
#endif
};

}  // namespace

const LinearKernel& linear_kernel(Isa isa) noexcept { return variant_of(kVariants, isa); }

void linear_pack(const LinearKernel& kernel, const float* w, std::int64_t ldw, std::int64_t n,
                 std::int64_t k, float* packed) noexcept {
  const std::int64_t width = kernel.panel_width;
  for (std::int64_t panel = 0; panel < linear_num_panels(kernel, n); ++panel) {
    float* to = packed + panel * width * k;
    for (std::int64_t i = 0; i < k; ++i) {
      for (std::int64_t j = 0; j < width; ++j) {
        const std::int64_t row = panel * width + j;
        to[i * width + j] = row < n ? w[row * ldw + i] : 0.0f;
      }
    }
  }
}

void linear(const LinearKernel& kernel, const LinearArgs& args, ThreadPool& pool) noexcept {
  if (args.m <= 0 || args.n <= 0) return;
  const std::int64_t num_panels = linear_num_panels(kernel, args.n);
  const std::int64_t num_threads = pool.num_threads();
  // Waking a thread costs about 5 us: below that much work (at some 50 GFLOP/s
  // per core) one thread is faster.
  constexpr std::int64_t kMinMacs = 64 * 1024;
  if (num_threads == 1 || args.m * args.n * args.k < kMinMacs) {
    kernel.run(args, 0, args.m, 0, num_panels);
    return;
  }
  // Columns first: threads then share no weights. A few tasks per thread even out
  // a busy core; rows are split as well where there are few panels.
  const std::int64_t wanted = num_threads * 4;
  const std::int64_t column_tasks = std::min(num_panels, wanted);
  const std::int64_t row_tiles = (args.m + kernel.tile_rows - 1) / kernel.tile_rows;
  const std::int64_t row_tasks =
      std::max<std::int64_t>(1, std::min(row_tiles, wanted / column_tasks));
  pool.parallel_for(column_tasks * row_tasks, [&](std::int64_t task, int) {
    const std::int64_t column = task % column_tasks, row = task / column_tasks;
    const std::int64_t row_begin = row_tiles * row / row_tasks * kernel.tile_rows;
    const std::int64_t row_end =
        std::min(args.m, row_tiles * (row + 1) / row_tasks * kernel.tile_rows);
    kernel.run(args, row_begin, row_end, num_panels * column / column_tasks,
               num_panels * (column + 1) / column_tasks);
  });
}

}  // namespace tokenfuse
