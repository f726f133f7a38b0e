// The pass over the tokens of merge_attention on a GPU. For each tile of tokens:
//
//   1. every warp: its columns' part of the scores, into shared memory;
//   2. every warp, for some rows: t = the parts' sum (in powers of 2), m' = max(m, t),
//      p = 2^(t - m'), a = 2^(m - m'), l' = a l + sum p; p and a into shared memory;
//   3. every warp: o' = a o + p x in its columns.
//
// Tokens come by copies in the background, each warp's columns into memory of its own, two tiles at
// a time; queries and sums stay in registers.
#pragma once

#include "core/cuda/device.h"
#include "core/cuda/softmax.h"
#include "kernels/merge_attention/cuda_plan.h"

namespace tokenfuse::cuda {

struct MergePassArgs {
  MergeAttentionArgs args;
  int streams, tiles_per_stream, splits;
};

template <typename T, int kUnits, int kTokens, int kRowTiles>
struct MergePass {
  static constexpr int kRows = kRowTiles * kMergeRows;
  static constexpr int kColumns = 16 * kUnits;
  static constexpr int kCopiedRow = kColumns + kMergePad;
  static constexpr int kWeightRow = kTokens + kMergePad;  // of scores too
  static constexpr int kCopiedBytes = kMergeWarps * kMergeStages * kTokens * kCopiedRow * 2;
  // A lane for each token of a row: so many rows of a warp at once, and so often.
  static constexpr int kLanesOfRow = kTokens;
  static constexpr int kRowsAtOnce = kWarpSize / kLanesOfRow;
  static constexpr int kTurns = kRows / kMergeWarps / kRowsAtOnce;

  const MergePassArgs& pass;
  const MergeAttentionArgs& args;
  const int lane, row0, column0, warps;  // warps that have columns
  const T* x;
  T* copied;       // of this warp
  float* scores;   // of all warps
  float* factors;  // a of each row; those of a join, twice; and what divides
  T* weights;
  std::uint32_t q[kRowTiles][kUnits][4];
  float o[kRowTiles][2 * kUnits][4], total[kRowTiles][2 * kUnits][4];
  // Of the rows of this warp in step 2.
  float max[kTurns], sum[kTurns], total_max[kTurns], total_sum[kTurns];

  TF_DEVICE explicit MergePass(const MergePassArgs& p)
      : pass(p),
        args(p.args),
        lane(lane_index()),
        row0(block_x() * kRows),
        column0(warp_index() * kColumns),
        warps((p.args.width + kColumns - 1) / kColumns),
        x(static_cast<const T*>(p.args.x) +
          static_cast<std::int64_t>(block_z()) * p.args.tokens * p.args.width + column0) {
    unsigned char* shared = shared_memory();
    copied = reinterpret_cast<T*>(shared) + warp_index() * kMergeStages * kTokens * kCopiedRow;
    scores = reinterpret_cast<float*>(shared + kCopiedBytes);
    factors = scores + kMergeWarps * kRows * kWeightRow;
    weights = reinterpret_cast<T*>(factors + 4 * kRows);
  }

  TF_DEVICE bool has_columns() const { return column0 < args.width; }
  TF_DEVICE int row_of(int turn) const {
    return (warp_index() * kTurns + turn) * kRowsAtOnce + lane / kLanesOfRow;
  }

  // Zeros behind the tokens and columns that are there.
  TF_DEVICE void copy(int tile, int end, int stage) {
    constexpr int kVectors = kColumns / 8;
    if (tile < end && has_columns()) {
      TF_UNROLL for (int i = 0; i < kTokens * kVectors / kWarpSize; ++i) {
        const int at = i * kWarpSize + lane, row = at / kVectors, column = at % kVectors * 8;
        const int token = tile * kTokens + row;
        copy_async(copied + (stage * kTokens + row) * kCopiedRow + column,
                   x + static_cast<std::int64_t>(token) * args.width + column,
                   token < args.tokens && column0 + column < args.width);
      }
    }
    copy_async_commit();
  }

  // Straight into the registers: read once.
  TF_DEVICE void load_queries() {
    TF_UNROLL for (int m = 0; m < kRowTiles; ++m) {
      TF_UNROLL for (int k = 0; k < kUnits; ++k) {
        TF_UNROLL for (int i = 0; i < 4; ++i) {
          const int row = row0 + 16 * m + lane / 4 + i % 2 * 8;
          const int column = column0 + 16 * k + lane % 4 * 2 + i / 2 * 8;
          const T* from =
              static_cast<const T*>(args.q) + static_cast<std::int64_t>(row) * args.width + column;
          q[m][k][i] = row < args.rows && column < args.width
                           ? *reinterpret_cast<const std::uint32_t*>(from)
                           : 0u;
        }
      }
    }
  }

  TF_DEVICE void clear() {
    TF_UNROLL for (int turn = 0; turn < kTurns; ++turn) {
      max[turn] = lowest();
      sum[turn] = 0.0f;
    }
    TF_UNROLL for (int m = 0; m < kRowTiles; ++m) {
      TF_UNROLL for (int n = 0; n < 2 * kUnits; ++n) {
        TF_UNROLL for (int i = 0; i < 4; ++i) o[m][n][i] = 0.0f;
      }
    }
  }

  TF_DEVICE void score(int stage) {
    float s[kRowTiles][kTokens / 8][4];
    TF_UNROLL for (int m = 0; m < kRowTiles; ++m) {
      TF_UNROLL for (int n = 0; n < kTokens / 8; ++n) {
        TF_UNROLL for (int i = 0; i < 4; ++i) s[m][n][i] = 0.0f;
      }
    }
    const T* rows =
        copied + (stage * kTokens + lane / 16 * 8 + lane % 8) * kCopiedRow + lane / 8 % 2 * 8;
    TF_UNROLL for (int k = 0; k < kUnits; ++k) {
      TF_UNROLL for (int n = 0; n < kTokens / 16; ++n) {
        std::uint32_t b[4];
        load_matrices_x4(b, rows + 16 * n * kCopiedRow + 16 * k);
        TF_UNROLL for (int m = 0; m < kRowTiles; ++m) {
          multiply_add<T>(s[m][2 * n], q[m][k], b);
          multiply_add<T>(s[m][2 * n + 1], q[m][k], b + 2);
        }
      }
    }
    float* to = scores + (warp_index() * kRows + lane / 4) * kWeightRow + lane % 4 * 2;
    TF_UNROLL for (int m = 0; m < kRowTiles; ++m) {
      TF_UNROLL for (int n = 0; n < kTokens / 8; ++n) {
        TF_UNROLL for (int half = 0; half < 2; ++half) {
          *reinterpret_cast<TwoFloats*>(to + (16 * m + 8 * half) * kWeightRow +
                                        8 * n) = {{s[m][n][2 * half], s[m][n][2 * half + 1]}};
        }
      }
    }
  }

  TF_DEVICE void weigh(int tile) {
    const int token = lane % kTokens;
    const bool there = tile * kTokens + token < args.tokens;
    float t[kTurns], factor[kTurns];
    TF_UNROLL for (int turn = 0; turn < kTurns; ++turn) {
      const float* from = scores + row_of(turn) * kWeightRow + token;
      float parts[kMergeWarps];
      TF_UNROLL for (int warp = 0; warp < kMergeWarps; ++warp) {
        parts[warp] = warp < warps ? from[warp * kRows * kWeightRow] : 0.0f;
      }
      t[turn] = parts[0];
      TF_UNROLL for (int warp = 1; warp < kMergeWarps; ++warp) t[turn] += parts[warp];
      // fmaf: a product alone could be fused with the subtraction below.
      t[turn] = there ? fmaf(t[turn], kLog2e, 0.0f) : lowest();
    }
    TF_UNROLL for (int turn = 0; turn < kTurns; ++turn) {
      float most = t[turn];
      TF_UNROLL for (int mask = kTokens / 2; mask > 0; mask /= 2) {
        most = larger(most, shuffle_xor(most, mask));
      }
      most = larger(max[turn], most);
      const float shift = shift_of(most);
      factor[turn] = exp2_fast(max[turn] - shift);
      max[turn] = most;
      t[turn] = exp2_fast(t[turn] - shift);
      float all = t[turn];
      TF_UNROLL for (int mask = kTokens / 2; mask > 0; mask /= 2) all += shuffle_xor(all, mask);
      sum[turn] = fmaf(sum[turn], factor[turn], all);
    }
    TF_UNROLL for (int turn = 0; turn < kTurns; ++turn) {
      weights[row_of(turn) * kWeightRow + token] = from_float<T>(t[turn]);
      if (token == 0) factors[row_of(turn)] = factor[turn];
    }
  }

  TF_DEVICE void add_tokens(int stage) {
    std::uint32_t p[kRowTiles][kTokens / 16][4];
    TF_UNROLL for (int m = 0; m < kRowTiles; ++m) {
      TF_UNROLL for (int k = 0; k < kTokens / 16; ++k) {
        load_matrices_x4(p[m][k],
                         weights + (16 * m + lane % 16) * kWeightRow + 16 * k + lane / 16 * 8);
      }
      TF_UNROLL for (int half = 0; half < 2; ++half) {
        const float factor = factors[16 * m + lane / 4 + 8 * half];
        TF_UNROLL for (int n = 0; n < 2 * kUnits; ++n) {
          TF_UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) o[m][n][i] *= factor;
        }
      }
    }
    const T* rows = copied + (stage * kTokens + lane % 16) * kCopiedRow + lane / 16 * 8;
    TF_UNROLL for (int k = 0; k < kTokens / 16; ++k) {
      TF_UNROLL for (int n = 0; n < kUnits; ++n) {
        std::uint32_t b[4];
        load_matrices_x4_transposed(b, rows + 16 * k * kCopiedRow + 16 * n);
        TF_UNROLL for (int m = 0; m < kRowTiles; ++m) {
          multiply_add<T>(o[m][2 * n], p[m][k], b);
          multiply_add<T>(o[m][2 * n + 1], p[m][k], b + 2);
        }
      }
    }
  }

  // The stream's sums, finished, into the total.
  TF_DEVICE void join(bool is_first) {
    float *ours = factors + kRows, *theirs = factors + 2 * kRows;
    TF_UNROLL for (int turn = 0; turn < kTurns; ++turn) {
      if (is_first) {
        total_max[turn] = max[turn];
        total_sum[turn] = sum[turn];
        continue;
      }
      const Join by = join_of(total_max[turn], max[turn]);
      total_max[turn] = by.max;
      total_sum[turn] = joined(total_sum[turn], sum[turn], by);
      if (lane % kTokens == 0) {
        ours[row_of(turn)] = by.a;
        theirs[row_of(turn)] = by.b;
      }
    }
    if (!is_first) sync_threads();
    TF_UNROLL for (int m = 0; m < kRowTiles; ++m) {
      TF_UNROLL for (int half = 0; half < 2; ++half) {
        const int row = 16 * m + lane / 4 + 8 * half;
        const Join by{0.0f, is_first ? 0.0f : ours[row], is_first ? 0.0f : theirs[row]};
        TF_UNROLL for (int n = 0; n < 2 * kUnits; ++n) {
          TF_UNROLL for (int i = 2 * half; i < 2 * half + 2; ++i) {
            total[m][n][i] = is_first ? o[m][n][i] : joined(total[m][n][i], o[m][n][i], by);
          }
        }
      }
    }
  }

  // Tiles [begin, end) of tokens, into sums of their own.
  TF_DEVICE void run_stream(int begin, int end) {
    clear();
    for (int stage = 0; stage < kMergeStages; ++stage) copy(begin + stage, end, stage);
    int stage = 0;
    for (int tile = begin; tile < end; ++tile) {
      copy_async_wait<kMergeStages - 1>();
      sync_warp();
      if (has_columns()) score(stage);
      sync_threads();
      weigh(tile);
      sync_threads();
      if (has_columns()) add_tokens(stage);
      sync_warp();
      copy(tile + kMergeStages, end, stage);
      stage = stage + 1 == kMergeStages ? 0 : stage + 1;
    }
  }
};

}  // namespace tokenfuse::cuda
