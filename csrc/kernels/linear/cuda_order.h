// The order in which a linear on a GPU adds up its products, and the tiles that it is cut into.
//
// K is cut into kSlices slices of whole steps of 16 columns (one matrix instruction), by K alone.
// Each slice is summed in order, from 0, and the sums of the slices are added in order. That is so
// in every kernel and tile, so a tile is chosen by what is fast, and the bits of a row do not
// depend on it, on M or on N:
//   - small tiles: the four warps of a block take a slice each. A linear at batch 1 has few rows
//     and so few blocks, each of which waits for memory most of the time: four warps wait at once,
//     each for its own copies, and meet only at the end.
//   - the large tile: all warps go through the slices one after the other, and keep two sums in
//     registers, that of the slice and that of the slices before it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cuda/device.h"
#include "core/cuda/runtime.h"

namespace tokenfuse::cuda {

inline constexpr int kSlices = 4;
inline constexpr int kStepColumns = 16;

// Columns of K in a stage of copies: rows of 64 bytes, two whole sectors of the cache.
inline constexpr int kStageColumns = 32;
inline constexpr int kStageRowBytes = 2 * kStageColumns;

TF_HOST_DEVICE constexpr int slice_columns(int k) {
  constexpr int kAcross = kSlices * kStepColumns;
  return (k + kAcross - 1) / kAcross * kStepColumns;
}

struct LinearTile {
  int rows, columns;
  int num_stages;   // of copies on their way, for each warp of a small tile
  bool sequential;  // the large tile
};

// From large to small. A large tile reads less of memory per product: 64 x 64 asks the second-level
// cache for as many bytes as it delivers (64 per cycle and multiprocessor) while the products are
// made (1,024 per cycle, capability 8.0), smaller ones for more. Stages: two blocks of 64 x 64 fit
// a multiprocessor of capability 8.0 and 8.7 (164 KB), three and more of the smaller tiles.
inline constexpr LinearTile kLinearTiles[] = {
    {128, 128, 4, true}, {64, 64, 2, false}, {32, 64, 3, false},
    {32, 32, 3, false},  {16, 32, 4, false}, {16, 16, 4, false},
};
inline constexpr int kNumLinearTiles = sizeof(kLinearTiles) / sizeof(kLinearTiles[0]);

// Floats of a row of sums in shared memory: 8 more than columns, so that the four rows which half a
// warp writes at once lie in different banks.
TF_HOST_DEVICE constexpr int sum_stride(const LinearTile& tile) { return tile.columns + 8; }

// One ring of stages, and the sums of all slices, which take its place.
constexpr std::size_t ring_bytes(const LinearTile& tile) {
  return static_cast<std::size_t>(tile.rows + tile.columns) * kStageRowBytes * tile.num_stages;
}
constexpr std::size_t linear_shared_bytes(const LinearTile& tile, bool normed) {
  if (tile.sequential) return ring_bytes(tile);
  const std::size_t rings = kSlices * ring_bytes(tile) + (normed ? 8u * tile.rows : 0u);
  const std::size_t sums = sizeof(float) * kSlices * tile.rows * sum_stride(tile);
  return rings > sums ? rings : sums;
}

constexpr std::int64_t linear_blocks(const LinearTile& tile, int m, int n) {
  return ((std::int64_t{m} + tile.rows - 1) / tile.rows) *
         ((std::int64_t{n} + tile.columns - 1) / tile.columns);
}

// The place in kLinearTiles of the largest tile that is not half empty and gives each
// multiprocessor two blocks, which hide each other's waiting; where none does, the smallest, for
// the most blocks. Floats go through registers (`floats`), which the two largest tiles have none
// left for.
inline int choose_linear_tile(const DeviceInfo& device, int m, int n, bool floats) {
  for (int i = floats ? 2 : 0; i < kNumLinearTiles; ++i) {
    const LinearTile& tile = kLinearTiles[i];
    if (tile.rows > 16 && tile.rows / 2 >= m) continue;
    if (tile.columns > 16 && tile.columns / 2 >= n) continue;
    if (linear_shared_bytes(tile, floats) > device.shared_bytes_per_block) continue;
    if (linear_blocks(tile, m, n) >= 2 * std::int64_t{device.num_multiprocessors}) return i;
  }
  return kNumLinearTiles - 1;
}

}  // namespace tokenfuse::cuda
