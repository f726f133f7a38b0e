#include "core/cuda/launch.h"
#include "kernels/layer_norm/cuda.h"
#include "kernels/layer_norm/cuda_row.cuh"

namespace tokenfuse::cuda {
namespace {

// A warp per row: at batch 1 there are at most a few hundred, and each is read once from memory.
constexpr int kRowsPerBlock = 4;

struct NormKernelArgs {
  NormArgs norm;
  bool x_vectors, y32_vectors, y16_vectors;
};

template <typename T>
TF_KERNEL void TF_LAUNCH_BOUNDS(kRowsPerBlock* kWarpSize, 1) norm_rows(NormKernelArgs args) {
  const NormArgs& a = args.norm;
  const int m = block_x() * kRowsPerBlock + warp_index();
  if (m >= a.m) return;
  const float* x = a.x + m * a.ldx;
  RowScale scales[1];
  row_scales(scales, x, 0, 0, 1, 1, a.n, a.bias != nullptr, a.eps, args.x_vectors);
  const RowScale row = scales[0];
  for (int column = 4 * lane_index(); column < a.n; column += 4 * kWarpSize) {
    float value[4], weight[4], bias[4] = {};
    load_4(value, x, column, a.n, args.x_vectors, 0.0f);
    load_4(weight, a.weight, column, a.n, false, 0.0f);
    if (a.bias != nullptr) load_4(bias, a.bias, column, a.n, false, 0.0f);
    TF_UNROLL for (int i = 0; i < 4; ++i) value[i] = normed(value[i], row, weight[i], bias[i]);
    if (a.y32 != nullptr) {
      store_4(a.y32 + m * a.ldy32, column, a.n, args.y32_vectors, value);
    }
    if (a.y16 == nullptr) continue;
    T* y = static_cast<T*>(a.y16) + m * a.ldy16 + column;
    if (args.y16_vectors && column + 4 <= a.n) {
      store_4(y, value);
    } else {
      TF_UNROLL for (int i = 0; i < 4; ++i) {
        if (column + i < a.n) y[i] = from_float<T>(value[i]);
      }
    }
  }
}

}  // namespace

void norm(Stream& stream, const NormArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  const bool y16_vectors =
      reinterpret_cast<std::uintptr_t>(args.y16) % 8 == 0 && args.ldy16 % 4 == 0;
  const NormKernelArgs kernel_args{args, rows_of_vectors(args.x, args.ldx),
                                   rows_of_vectors(args.y32, args.ldy32), y16_vectors};
  launch(stream, "norm", args.type == Type::kHalf ? norm_rows<Half> : norm_rows<Bf16>,
         {(args.m + kRowsPerBlock - 1) / kRowsPerBlock}, kRowsPerBlock * kWarpSize, 0, kernel_args);
}

}  // namespace tokenfuse::cuda
