#include "core/cuda/launch.h"
#include "kernels/linear/cuda.h"
#include "kernels/linear/cuda_sequential.cuh"
#include "kernels/linear/cuda_sliced.cuh"

namespace tokenfuse::cuda {
namespace {

using Kernel = void (*)(LinearKernelArgs);

// By place in kLinearTiles.
template <typename T>
Kernel kernel_of(int tile, bool floats) {
  static constexpr Kernel kHalves[] = {linear_sequential<T, 0>,    linear_sliced<T, 1, false>,
                                       linear_sliced<T, 2, false>, linear_sliced<T, 3, false>,
                                       linear_sliced<T, 4, false>, linear_sliced<T, 5, false>};
  static constexpr Kernel kFloats[] = {nullptr,
                                       nullptr,
                                       linear_sliced<T, 2, true>,
                                       linear_sliced<T, 3, true>,
                                       linear_sliced<T, 4, true>,
                                       linear_sliced<T, 5, true>};
  static_assert(sizeof(kHalves) == sizeof(Kernel) * kNumLinearTiles, "a kernel for each tile");
  return floats ? kFloats[tile] : kHalves[tile];
}

bool stored_in_pairs(const LinearArgs& args) {
  const bool floats = args.y32 != nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(floats ? args.y32 : args.y16);
  return args.ldy % 2 == 0 && address % (floats ? 8 : 4) == 0;
}

}  // namespace

void linear_in_tile(Stream& stream, const LinearArgs& args, int place) {
  const bool floats = args.x32 != nullptr;
  const LinearTile& tile = kLinearTiles[place];
  const std::int64_t row_tiles = (std::int64_t{args.m} + tile.rows - 1) / tile.rows;
  const std::int64_t column_tiles = (std::int64_t{args.n} + tile.columns - 1) / tile.columns;
  const LinearKernelArgs kernel_args{args, floats && rows_of_vectors(args.x32, args.ldx),
                                     stored_in_pairs(args), row_tiles, column_tiles};
  launch(stream, "linear",
         args.type == Type::kHalf ? kernel_of<Half>(place, floats) : kernel_of<Bf16>(place, floats),
         {static_cast<int>(row_tiles * column_tiles)},
         tile.sequential ? kSequentialThreads : kSlicedThreads, linear_shared_bytes(tile, floats),
         kernel_args);
}

void linear(Stream& stream, const DeviceInfo& device, const LinearArgs& args) {
  if (args.m == 0) return;
  const bool floats = args.x32 != nullptr;
  linear_in_tile(stream, args, choose_linear_tile(device, args.m, args.n, floats));
}

}  // namespace tokenfuse::cuda
