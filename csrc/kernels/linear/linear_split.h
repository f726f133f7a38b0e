// How the dense layers with float sums are split over threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/row_tasks.h"
#include "core/thread_pool.h"

namespace tokenfuse {

// run(row_begin, row_end, panel_begin, panel_end, thread), for parts that make up the whole. Rows
// are split at multiples of `tile_rows`, and alone where each part has `least_tiles` of them.
template <typename Args, typename Run>
void linear_split(int tile_rows, std::int64_t least_tiles, std::int64_t num_panels,
                  const Args& args, ThreadPool& pool, const Run& run) noexcept {
  const std::int64_t num_threads = pool.num_threads();
  // Waking a thread costs about 5 us: below that much work (at some 50 GFLOP/s
  // per core) one thread is faster.
  constexpr std::int64_t kMinMacs = 64 * 1024;
  if (num_threads == 1 || args.m * args.n * args.k < kMinMacs) {
    run(0, args.m, 0, num_panels, 0);
    return;
  }
  // A few tasks per thread even out a busy core.
  const std::int64_t wanted = num_threads * 4;
  const std::int64_t row_tiles = (args.m + tile_rows - 1) / tile_rows;
  if (row_tiles >= wanted * least_tiles) {
    // Rows alone: a thread mostly finds its own results of the layer before in its cache. Whole
    // pictures are 4 to 8% faster so (tiny and small, fp32, 2 threads).
    const RowTasks tasks{args.m, wanted, tile_rows};
    pool.parallel_for(wanted, [&](std::int64_t task, int thread) {
      run(tasks.begin(task), tasks.begin(task + 1), 0, num_panels, thread);
    });
    return;
  }
  // Columns first: threads then share no weights. Rows are split as well where there are few
  // panels, but not below 4 tiles, as each part reads the weights again, unless threads were left
  // without work.
  const std::int64_t column_tasks = std::min(num_panels, wanted);
  const std::int64_t parts = num_panels < num_threads ? row_tiles : row_tiles / 4;
  const RowTasks rows{args.m, std::max<std::int64_t>(1, std::min(parts, wanted / column_tasks)),
                      tile_rows};
  pool.parallel_for(column_tasks * rows.count, [&](std::int64_t task, int thread) {
    const std::int64_t column = task % column_tasks, row = task / column_tasks;
    run(rows.begin(row), rows.begin(row + 1), num_panels * column / column_tasks,
        num_panels * (column + 1) / column_tasks, thread);
  });
}

}  // namespace tokenfuse
