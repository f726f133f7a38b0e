#include <cmath>

#include "core/cuda/launch.h"
#include "core/cuda/vectors.h"
#include "kernels/log_sum_exp/cuda.h"

namespace tokenfuse::cuda {
namespace {

constexpr int kMaxThreads = 1024;
// A row of the vocabulary (32,128) is one such batch of loads for each of 1,024 threads: all of
// them are on their way at once, and the row is read once.
constexpr int kVectors = 8;
constexpr float kLog2E = 1.44269504088896340736f;

struct LogSumExpKernelArgs {
  LogSumExpArgs rows;
  bool x_vectors;
};

// Of a part of a row: its largest, where that is first, and sum exp(x - largest). A part with NaN
// has NaN as its largest.
struct Part {
  float largest;
  float sum;
  int top;
};

// 2^((x - from) log2 e), 0 for x = -infinity whatever `from` is.
TF_DEVICE float exp_from(float x, float from) {
  return exp2_fast((x - (from == -INFINITY ? 0.0f : from)) * kLog2E);
}

TF_DEVICE Part merged(const Part& a, const Part& b) {
  if (a.largest != a.largest) return a;
  if (b.largest != b.largest) return b;
  const bool second = b.largest > a.largest || (b.largest == a.largest && b.top < a.top);
  const float largest = second ? b.largest : a.largest;
  const float sum = fmaf(b.sum, exp_from(b.largest, largest), a.sum * exp_from(a.largest, largest));
  return {largest, sum, second ? b.top : a.top};
}

TF_DEVICE Part warp_merged(Part part) {
  TF_UNROLL for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    part = merged(part, {shuffle_xor(part.largest, mask), shuffle_xor(part.sum, mask),
                         shuffle_xor(part.top, mask)});
  }
  return part;
}

// The thread's share of columns [first, first + kVectors * 4 * num_threads()).
TF_DEVICE Part part_of(const float* x, int first, int n, bool vectors) {
  float values[kVectors][4];
  TF_UNROLL for (int i = 0; i < kVectors; ++i) {
    load_4(values[i], x, first + 4 * (i * num_threads() + thread_index()), n, vectors, -INFINITY);
  }
  Part part{-INFINITY, 0.0f, n};
  bool has_nan = false;
  TF_UNROLL for (int i = 0; i < kVectors; ++i) {
    TF_UNROLL for (int j = 0; j < 4; ++j) {
      has_nan |= values[i][j] != values[i][j];
      if (values[i][j] > part.largest) {
        part.largest = values[i][j];
        part.top = first + 4 * (i * num_threads() + thread_index()) + j;
      }
    }
  }
  TF_UNROLL for (int i = 0; i < kVectors; ++i) {
    TF_UNROLL for (int j = 0; j < 4; ++j) part.sum += exp_from(values[i][j], part.largest);
  }
  if (has_nan) part.largest = NAN;
  return part;
}

// A block per row.
TF_KERNEL void TF_LAUNCH_BOUNDS(kMaxThreads, 1) log_sum_exp_rows(LogSumExpKernelArgs args) {
  const LogSumExpArgs& a = args.rows;
  const int m = block_x();
  const float* x = a.x + m * a.ldx;
  Part part{-INFINITY, 0.0f, a.n};
  for (int first = 0; first < a.n; first += kVectors * 4 * num_threads()) {
    part = merged(part, part_of(x, first, a.n, args.x_vectors));
  }
  part = warp_merged(part);
  auto* parts = reinterpret_cast<Part*>(shared_memory());
  if (lane_index() == 0) parts[warp_index()] = part;
  sync_threads();
  if (warp_index() != 0) return;
  const int num_warps = num_threads() / kWarpSize;
  part = lane_index() < num_warps ? parts[lane_index()] : Part{-INFINITY, 0.0f, a.n};
  part = warp_merged(part);
  if (lane_index() != 0) return;
  // Nothing is larger than -infinity in a row of it.
  const int top = part.top < a.n && part.largest == part.largest ? part.top : 0;
  if (a.top != nullptr) a.top[m] = top;
  // The logarithm stays apart from the largest: of a probability near one, its digits are kept.
  a.log_prob[m] = (x[a.given != nullptr ? a.given[m] : top] - part.largest) - logf(part.sum);
}

}  // namespace

void log_sum_exp(Stream& stream, const LogSumExpArgs& args) {
  if (args.m == 0) return;
  // By N alone, as it is in the order of the sums.
  const int vectors = args.n / 4 + 1;
  const int threads =
      vectors < kMaxThreads ? (vectors + kWarpSize - 1) / kWarpSize * kWarpSize : kMaxThreads;
  launch(stream, "log_sum_exp", log_sum_exp_rows, {args.m}, threads,
         sizeof(Part) * (threads / kWarpSize),
         LogSumExpKernelArgs{args, rows_of_vectors(args.x, args.ldx)});
}

}  // namespace tokenfuse::cuda
