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
#include "kernels/linear/cuda.h"

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

// From large to small. Stages: two blocks of 64 x 64 fit a multiprocessor of capability 8.0 and 8.7
// (164 KB), three and more of the smaller tiles.
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

// Whether a tile, by its place, is for such a linear: not half empty, and not of floats where these
// go through registers of which the tile has none left.
constexpr bool linear_tile_fits(int place, int m, int n, bool floats) {
  const LinearTile& tile = kLinearTiles[place];
  if (floats && place < 2) return false;
  return (tile.rows == 16 || tile.rows / 2 < m) && (tile.columns == 16 || tile.columns / 2 < n);
}

// What a block takes per column of K, in 64ths of a cycle: the longer of reading that much from the
// second-level cache (64 bytes per cycle and multiprocessor) and of multiplying it (1,024
// multiply-adds per cycle, capability 8.0 and 8.7). The two are equal at 64 x 64.
constexpr std::int64_t linear_block_cost(const LinearTile& tile, bool floats) {
  const int bytes = tile.rows * (floats ? 4 : 2) + tile.columns * 2;
  const int products = tile.rows * tile.columns / 16;
  return bytes > products ? bytes : products;
}

// The place in kLinearTiles of the tile with which the multiprocessor with the most blocks has the
// least to do; of equals the largest, which asks less of the cache. An estimate, not measured: only
// the time depends on it.
inline int choose_linear_tile(const DeviceInfo& device, int m, int n, bool floats) {
  const std::int64_t among = device.num_multiprocessors;
  int best = kNumLinearTiles - 1;
  std::int64_t best_cost = INT64_MAX;
  for (int place = 0; place < kNumLinearTiles; ++place) {
    const LinearTile& tile = kLinearTiles[place];
    if (!linear_tile_fits(place, m, n, floats)) continue;
    if (linear_shared_bytes(tile, floats) > device.shared_bytes_per_block) continue;
    const std::int64_t most_blocks = (linear_blocks(tile, m, n) + among - 1) / among;
    const std::int64_t cost = most_blocks * linear_block_cost(tile, floats);
    if (cost >= best_cost) continue;
    best = place;
    best_cost = cost;
  }
  return best;
}

// `linear` in a given tile, for tests.
void linear_in_tile(Stream& stream, const LinearArgs& args, int place);

}  // namespace tokenfuse::cuda
