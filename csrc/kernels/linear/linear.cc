#include "kernels/linear/linear.h"

#include <algorithm>

#include "core/simd/scalar.h"
#include "core/variants.h"
#include "kernels/linear/linear_split.h"
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
constexpr LinearKernel kLinearScalar{8, 4, linear_run<FloatProduct<scalar::V, 4, 8>, LinearArgs>};

const LinearKernel* const kVariants[] = {
    &kLinearScalar,
#if defined(TOKENFUSE_X86)
    &kLinearAvx2,   &kLinearAvx512, &kLinearAvx512, &kLinearAvx512,
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
    const float* from = w + panel * width * ldw;
    float* to = packed + panel * width * k;
    const std::int64_t used = std::min(width, n - panel * width);
    for (std::int64_t i = 0; i < k; ++i) {
      for (std::int64_t j = 0; j < used; ++j) to[i * width + j] = from[j * ldw + i];
      for (std::int64_t j = used; j < width; ++j) to[i * width + j] = 0.0f;
    }
  }
}

void linear(const LinearKernel& kernel, const LinearArgs& args, ThreadPool& pool) noexcept {
  if (args.m <= 0 || args.n <= 0) return;
  linear_split(kernel.tile_rows, 1, linear_num_panels(kernel, args.n), args, pool,
               [&](std::int64_t row_begin, std::int64_t row_end, std::int64_t panel_begin,
                   std::int64_t panel_end,
                   int) { kernel.run(args, row_begin, row_end, panel_begin, panel_end); });
}

}  // namespace tokenfuse
