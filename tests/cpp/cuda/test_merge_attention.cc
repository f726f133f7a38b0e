// merge_attention on a GPU, emulated, against a softmax in double precision of the rounded inputs.
#include "kernels/merge_attention/cuda_plan.h"
#include "merge_attention_case.h"

namespace tokenfuse::test {
namespace {

using cuda::MergeAttentionPlan;

DeviceInfo device_of(int num_multiprocessors, int shared_kb) {
  return {"emulated", 80, num_multiprocessors, static_cast<std::size_t>(shared_kb) << 10, 0};
}

void name(const char* what, Type type, const MergeShape& s) {
  set_case("%s, %s, batch %d, %d rows, %d tokens of %d", what,
           type == Type::kHalf ? "half" : "bf16", s.batch, s.rows, s.tokens, s.width);
}

void check_sizes(Type type) {
  // Around 16 and 32 rows; tiles of 16 and 32 tokens, two of them, and all the streams; slices of 8
  // warps, from one warp's to all of them full.
  const int widths[] = {8,   128, 16,  136, 24,   256, 264, 120,
                        384, 64,  392, 520, 1016, 768, 640, 1024};
  const int rows[] = {1, 17, 16, 3, 33, 15};
  int turn = 0;
  for (const int width : widths) {
    for (const int tokens : {1, 7, 15, 16, 17, 31, 32, 33, 64, 65, 97, 211}) {
      ++turn;
      // What is wide takes its time: some of it.
      if (turn % (width > 400 ? 5 : width > 100 ? 3 : 1) != 0) continue;
      const MergeShape shape{1 + turn % 2, rows[turn % 5], tokens, width};
      name("sizes", type, shape);
      Merge merge(type, shape);
      // Split and not, as multiprocessors are many or few.
      merge.run(device_of(turn % 4 == 0 ? 1 : 40, turn % 3 == 0 ? 163 : 99));
      check_result(merge);
    }
  }
}

void check_shapes(Type type) {
  for (const MergeShape& shape : {MergeShape{1, 64, 64, 128}, MergeShape{1, 96, 196, 192},
                                  MergeShape{1, 24, 196, 384}, MergeShape{1, 16, 196, 768}}) {
    name("shapes", type, shape);
    Merge merge(type, shape);
    merge.run(device_of(132, 227));
    check_result(merge);
  }
}

// One at a time, three (the streams in one block) and twelve (32 rows a block): the same bits.
void check_batches(Type type) {
  const DeviceInfo device = device_of(6, 163);
  for (const int width : {64, 136, 384}) {
    const int rows = 25, tokens = 200;
    Merge many(type, {12, rows, tokens, width});
    name("batches", type, many.shape);
    const MergeAttentionPlan at_12 = cuda::merge_attention_plan(device, many.args);
    CHECK(at_12.splits == 1 && at_12.row_tiles == 2 && at_12.streams == 3);
    many.run(device);
    Merge three(type, {3, rows, tokens, width}), one(type, {1, rows, tokens, width});
    const MergeAttentionPlan at_3 = cuda::merge_attention_plan(device, three.args);
    const MergeAttentionPlan at_1 = cuda::merge_attention_plan(device, one.args);
    CHECK(at_3.splits == 1 && at_3.row_tiles == 1 && at_3.streams == 3);
    CHECK(at_1.splits == 3 && at_1.row_tiles == 1 && at_1.streams == 3);
    // Random numbers are given batch by batch: the first ones are the same.
    three.run(device);
    one.run(device);
    check_result(three);
    CHECK(one.same_batch(0, three, 0));
    for (int b = 0; b < 3; ++b) CHECK(three.same_batch(b, many, b));
    // In another place.
    for (int j = 0; j < tokens; ++j) {
      for (int d = 0; d < width; ++d) {
        one.x.set(0, j, d, static_cast<float>(many.x.get(9, j, d)));
      }
    }
    one.run(device);
    CHECK(one.same_batch(0, many, 9));
  }
}

void check_options(Type type) {
  for (const int multiprocessors : {1, 40}) {
    const DeviceInfo device = device_of(multiprocessors, 99);
    const MergeShape shape{2, 20, 130, 72};
    name("options", type, shape);
    Merge all(type, shape), sums(type, shape), least(type, shape);
    all.run(device);
    sums.args.weights = nullptr;
    sums.run(device);
    least.args.weights = nullptr;
    least.args.lse = nullptr;
    least.run(device);
    CHECK(sums.o.bytes() == all.o.bytes() && least.o.bytes() == all.o.bytes());
    CHECK(std::isnan(sums.got_weight(0, 0, 0)) && std::isnan(least.got_lse(0, 0)));
    CHECK(sums.got_lse(1, 19) == all.got_lse(1, 19));
  }
}

// The maximum moves in every tile, up or down; then one token far above all others.
void check_magnitudes(Type type) {
  for (const int multiprocessors : {1, 40}) {
    const DeviceInfo device = device_of(multiprocessors, 99);
    for (const float sign : {1.0f, -1.0f}) {
      Merge merge(type, {1, 5, 160, 16});
      name(sign > 0 ? "rising scores" : "falling scores", type, merge.shape);
      for (int i = 0; i < 5; ++i) merge.q.set(0, i, 0, 1.0f);
      for (int j = 0; j < 160; ++j) {
        merge.x.set(0, j, 0, sign * static_cast<float>(j - 80));
      }
      merge.run(device);
      check_result(merge);
    }
    Merge merge(type, {1, 20, 150, 40});
    name("large scores", type, merge.shape);
    const float large = type == Type::kHalf ? 60000.0f : 1e30f;
    for (int i = 0; i < 20; ++i) merge.q.set_row(0, i, 0.0f);
    for (int j = 0; j < 150; ++j) merge.x.set_row(0, j, 0.0f);
    for (int i = 0; i < 20; ++i) {
      merge.q.set(0, i, i, large);
      merge.x.set(0, 7 * i + 2, i, 1.0f);
    }
    merge.run(device);
    bool picked = true;
    for (int i = 0; i < 20; ++i) {
      for (int d = 0; d < 40; ++d) picked = picked && merge.got(0, i, d) == (d == i ? 1.0 : 0.0);
      for (int j = 0; j < 150; ++j) {
        picked = picked && merge.got_weight(0, i, j) == (j == 7 * i + 2 ? 1.0f : 0.0f);
      }
    }
    CHECK(picked);
  }
}

void check_nan(Type type) {
  for (const int multiprocessors : {1, 40}) {
    const DeviceInfo device = device_of(multiprocessors, 99);
    Merge merge(type, {2, 20, 150, 40});
    name("NaN of a row", type, merge.shape);
    merge.q.set(0, 17, 38, kNan);
    merge.run(device);
    for (int i = 0; i < 20; ++i) {
      for (int b = 0; b < 2; ++b) {
        CHECK(i == 17 ? merge.row_is_nan(b, i) : merge.row_is_finite(b, i));
      }
    }
    // Each batch ends where the next begins, whose first or last token is NaN.
    for (const int bad : {0, 1}) {
      Merge tokens(type, {2, 20, 150, 40});
      name("NaN of a token", type, tokens.shape);
      tokens.x.set_row(bad, bad == 1 ? 0 : 149, kNan);
      tokens.run(device);
      for (int i = 0; i < 20; ++i) {
        CHECK(tokens.row_is_nan(bad, i));
        CHECK(tokens.row_is_finite(1 - bad, i));
      }
    }
    if (type == Type::kHalf) continue;  // from_float makes a number of infinity
    Merge infinite(type, {1, 20, 150, 40});
    name("infinity of a token", type, infinite.shape);
    for (int i = 0; i < 20; ++i) infinite.q.set(0, i, 3, 1.0f);
    infinite.x.set(0, 77, 3, kInf);
    infinite.run(device);
    for (int i = 0; i < 20; ++i) CHECK(infinite.o.row_is_nan(1, i));
  }
}

// Tokens are read once for each block's rows, however the streams are shared.
void check_copies() {
  cuda::Stream stream;
  for (const int batch : {1, 4, 16}) {
    const DeviceInfo device = device_of(8, 163);
    cuda::emulator::set_device(device);
    Merge merge(Type::kBf16, {batch, 25, 200, 136});
    name("copies", Type::kBf16, merge.shape);
    cuda::DeviceBuffer workspace(cuda::merge_attention_workspace_bytes(device, merge.args));
    merge.args.workspace = workspace.data();
    merge.args.weights = nullptr;
    cuda::emulator::reset_counts();
    cuda::merge_attention(stream, device, merge.args);
    const auto row_blocks = static_cast<std::uint64_t>(batch == 16 ? 1 : 2);
    CHECK(cuda::emulator::counts().copied_bytes ==
          row_blocks * static_cast<std::uint64_t>(batch) * 200 * 136 * 2);
    CHECK(cuda::emulator::counts().launches == (batch == 1 ? 2u : 1u));
  }
}

void check_plans() {
  for (const int width : {8, 128, 192, 384, 520, 640, 768, 896, 1024}) {
    for (const int tokens : {1, 16, 64, 196, 4096}) {
      for (const int rows : {1, 32, 96, 192, 768}) {
        for (const int shared_kb : {99, 163, 227}) {
          for (const int multiprocessors : {8, 16, 132}) {
            set_case("plan, %d rows, %d tokens of %d, %d KB, %d multiprocessors", rows, tokens,
                     width, shared_kb, multiprocessors);
            const DeviceInfo device = device_of(multiprocessors, shared_kb);
            MergeAttentionArgs args{};
            args.rows = rows;
            args.tokens = tokens;
            args.width = width;
            args.batch = 1;
            const MergeAttentionPlan one = cuda::merge_attention_plan(device, args);
            args.batch = 64;
            const MergeAttentionPlan many = cuda::merge_attention_plan(device, args);
            // Sums are the same for any batch, and all columns and tokens are somebody's.
            CHECK(one.units == many.units && one.tokens == many.tokens &&
                  one.streams == many.streams && one.tiles_per_stream == many.tiles_per_stream);
            CHECK(one.units * 128 >= width && (one.units <= 4 || one.units == 6 || one.units == 8));
            const int per_stream = one.tokens * one.tiles_per_stream;
            CHECK(one.streams >= 1 && one.streams <= cuda::kMergeStreams);
            CHECK(per_stream * one.streams >= tokens && per_stream * (one.streams - 1) < tokens);
            for (const MergeAttentionPlan& plan : {one, many}) {
              CHECK(plan.shared_bytes <= device.shared_bytes_per_block);
              CHECK(plan.blocks_x * plan.row_tiles * 16 >= rows);
              CHECK(plan.splits == 1 || plan.splits == plan.streams);
              CHECK((plan.workspace_bytes > 0) == (plan.splits > 1));
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_plans();
  check_copies();
  for (const Type type : {Type::kHalf, Type::kBf16}) {
    check_sizes(type);
    check_shapes(type);
    check_batches(type);
    check_options(type);
    check_magnitudes(type);
    check_nan(type);
  }
  return finish("merge_attention on a GPU");
}
