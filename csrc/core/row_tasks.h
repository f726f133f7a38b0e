// Rows cut into tasks for threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace tokenfuse {

// Rows as tasks, each of which goes through all of a linear, or through a chain of them. Task i has
// the rows from begin(i) to begin(i + 1), and they are split at multiples of `step`.
struct RowTasks {
  std::int64_t rows, count, step;

  std::int64_t begin(std::int64_t task) const noexcept {
    return std::min(rows, (rows + step - 1) / step * task / count * step);
  }
};

// About two tiles each, which share a pass of the weights, and as many tasks for every thread. One
// task where there is not a tile for each thread: they would read the weights too often for what
// they do with them.
inline RowTasks row_tasks(std::int64_t rows, int tile_rows, std::int64_t step,
                          int num_threads) noexcept {
  const std::int64_t tiles = (rows + tile_rows - 1) / tile_rows;
  if (tiles < num_threads) return {rows, 1, step};
  return {rows, ((tiles + 1) / 2 + num_threads - 1) / num_threads * num_threads, step};
}

}  // namespace tokenfuse
