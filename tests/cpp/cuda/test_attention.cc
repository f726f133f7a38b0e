// attention on a GPU, emulated, against a softmax in double precision of the rounded inputs.
#include "attention_case.h"
#include "kernels/attention/cuda_plan.h"

namespace tokenfuse::test {
namespace {

// 1 multiprocessor: keys are shared wherever that is possible; 10,000: never.
const DeviceInfo kOne{"one", 80, 1, std::size_t{99} << 10, 0};
const DeviceInfo kMany{"many", 80, 10000, std::size_t{99} << 10, 0};

void name(const char* what, Type type, const AttentionShape& s) {
  set_case("%s, %s, batch %d, %d heads of %d, %d x %d", what, type == Type::kHalf ? "half" : "bf16",
           s.batch, s.heads, s.head_dim, s.queries, s.keys);
}

bool shares(const DeviceInfo& device, const AttentionArgs& args) {
  return cuda::attention_plan(device, args).shares_keys;
}

// By both kernels, where both do it: the same bits.
void check_both(const char* what, Attention& attention) {
  name(what, attention.args.type, attention.shape);
  CHECK(!shares(kMany, attention.args));
  attention.run(kMany);
  attention.check_result();
  if (!shares(kOne, attention.args)) return;
  const std::vector<unsigned char> split = attention.o.bytes();
  attention.run(kOne);
  CHECK(attention.o.bytes() == split);
}

void check_sizes(Type type) {
  int turn = 0;
  // Around the 16 queries of a warp and the 64 of a block; around chunks of 16 and 32 keys, the
  // four streams, and two rounds of them.
  for (const int queries : {1, 15, 16, 17, 33, 67}) {
    for (const int keys : {1, 7, 15, 16, 17, 33, 63, 64, 65, 129, 257}) {
      const int dims[] = {8, 16, 24, 32, 40, 64, 72, 96, 104, 128};
      const int head_dim = dims[turn++ * 3 % 10];
      if (queries * keys > 33 * 129) continue;
      Attention attention(type, {1 + turn % 2, 1 + turn / 2 % 2, head_dim, queries, keys},
                          static_cast<Bias>(turn % 3 == 2 && keys < queries ? 1 : turn % 3),
                          turn % 4 == 0 ? 0 : 8);
      check_both("sizes", attention);
    }
  }
}

void check_shapes(Type type) {
  for (const AttentionShape& shape :
       {AttentionShape{1, 3, 64, 196, 196}, AttentionShape{1, 1, 64, 1, 64},
        AttentionShape{2, 4, 32, 64, 64}, AttentionShape{1, 2, 64, 32, 32},
        AttentionShape{2, 1, 64, 64, 32}, AttentionShape{1, 1, 32, 16, 196}}) {
    Attention attention(type, shape);
    check_both("shapes", attention);
  }
}

void check_counts(Type type) {
  for (const int head_dim : {32, 64, 128}) {
    Attention attention(type, {4, 2, head_dim, 35, 70}, Bias::kAny);
    attention.set_counts({1, 33, 64, 70});
    check_both("key counts", attention);
  }
}

// One query at a time, its keys those before it, as a decoder does it: the bits of all at once.
void check_steps(Type type) {
  const int rows = 71;
  Attention all(type, {1, 2, 64, rows, rows}, Bias::kCausal);
  check_both("all at once", all);
  for (const int row : {0, 1, 15, 16, 40, 70}) {
    Attention step(type, {1, 2, 64, 1, rows}, Bias::kCausal, 8, rows);
    step.set_first(row);
    check_both("a step", step);
    bool same = true;
    for (int d = 0; d < 128; ++d) same = same && step.o.word(0, 0, d) == all.o.word(0, row, d);
    CHECK(same);
  }
  Attention some(type, {2, 2, 32, 40, rows}, Bias::kCausal, 8, rows);
  some.set_first(5);
  check_both("some rows", some);
  some.set_counts({44, 3});
  check_both("some rows with counts", some);
}

// A batch depends on no other, and neither does its place.
void check_batches(Type type) {
  const AttentionShape shape{3, 1, 64, 50, 80};
  Attention all(type, shape);
  check_both("batches", all);
  CHECK(shares(kOne, all.args));
  for (int b = 0; b < shape.batch; ++b) {
    Attention one(type, {1, 1, 64, 50, 80});
    for (int d = 0; d < 64; ++d) {
      for (int i = 0; i < 50; ++i) one.q.set(0, i, d, static_cast<float>(all.q.get(b, i, d)));
      for (int j = 0; j < 80; ++j) {
        one.k.set(0, j, d, static_cast<float>(all.k.get(b, j, d)));
        one.v.set(0, j, d, static_cast<float>(all.v.get(b, j, d)));
      }
    }
    check_both("one of the batches", one);
    bool same = true;
    for (int i = 0; i < 50; ++i) {
      for (int d = 0; d < 64; ++d) same = same && one.o.word(0, i, d) == all.o.word(b, i, d);
    }
    CHECK(same);
  }
}

// The maximum moves in every chunk, up or down; then one key far above all others.
void check_magnitudes(Type type) {
  for (const float sign : {1.0f, -1.0f}) {
    Attention attention(type, {1, 1, 32, 40, 150});
    for (int i = 0; i < 40; ++i) attention.q.set(0, i, 0, 8.0f);
    for (int j = 0; j < 150; ++j) {
      attention.k.set(0, j, 0, sign * static_cast<float>(j - 75) * 0.5f);
    }
    check_both(sign > 0 ? "rising scores" : "falling scores", attention);
  }
  Attention attention(type, {1, 1, 64, 40, 130});
  const float large = type == Type::kHalf ? 60000.0f : 1e18f;
  for (int i = 0; i < 40; ++i) attention.q.set_row(0, i, 0.0f);
  for (int j = 0; j < 130; ++j) attention.k.set_row(0, j, 0.0f);
  for (int i = 0; i < 40; ++i) {
    attention.q.set(0, i, i, large);
    attention.k.set(0, 3 * i + 2, i, large);
  }
  name("large scores", type, attention.shape);
  for (const DeviceInfo& device : {kOne, kMany}) {
    attention.run(device);
    bool picked = true;
    for (int i = 0; i < 40; ++i) {
      for (int d = 0; d < 64; ++d) {
        picked = picked && attention.o.word(0, i, d) == attention.v.word(0, 3 * i + 2, d);
      }
    }
    CHECK(picked);
  }
}

void check_nan(Type type) {
  for (const DeviceInfo& device : {kOne, kMany}) {
    Attention attention(type, {1, 1, 64, 40, 70});
    name("NaN of a query", type, attention.shape);
    attention.q.set(0, 21, 9, kNan);
    attention.run(device);
    for (int i = 0; i < 40; ++i) {
      CHECK(i == 21 ? attention.o.row_is_nan(0, i) : attention.o.row_is_finite(0, i));
    }
    name("NaN and infinity of a key", type, attention.shape);
    for (const float bad : {kNan, kInf}) {
      Attention keys(type, {1, 1, 64, 40, 70});
      for (int i = 0; i < 40; ++i) keys.q.set(0, i, 3, 1.0f);
      keys.k.set(0, 65, 3, type == Type::kHalf && bad == kInf ? kNan : bad);
      keys.run(device);
      for (int i = 0; i < 40; ++i) CHECK(keys.o.row_is_nan(0, i));
    }
    // Whole chunks and streams hidden, first and last.
    name("hidden keys", type, {1, 1, 64, 40, 200});
    for (const int shown : {0, 40, 150}) {
      Attention hidden(type, {1, 1, 64, 40, 200}, Bias::kAny);
      // Of query i, keys shown to shown + i + 5.
      for (int at = 0; at < 239; ++at) {
        const int j_minus_i = at - 39;
        if (j_minus_i < shown || j_minus_i > shown + 5) {
          hidden.bias[static_cast<std::size_t>(at)] = -kInf;
        }
      }
      hidden.run(device);
      hidden.check_result();
    }
  }
}

// Keys and values are read once for each block's queries.
void check_copies() {
  Attention attention(Type::kBf16, {2, 3, 64, 100, 90});
  name("copies", Type::kBf16, attention.shape);
  cuda::Stream stream;
  for (const bool sharing : {false, true}) {
    cuda::emulator::reset_counts();
    cuda::attention(stream, sharing ? kOne : kMany, attention.args);
    const std::uint64_t blocks = 2 * 3 * (sharing ? 2 : 7);
    CHECK(cuda::emulator::counts().copied_bytes == blocks * 2 * 90 * 64 * 2);
    CHECK(cuda::emulator::counts().launches == 1);
  }
}

void check_plans() {
  for (const int head_dim : {8, 32, 40, 64, 96, 128}) {
    for (const int keys : {1, 64, 65, 1000}) {
      for (const int batch : {1, 1000}) {
        set_case("plan, head %d, %d keys, batch %d", head_dim, keys, batch);
        AttentionArgs args{};
        args.head_dim = head_dim;
        args.num_keys = keys;
        args.num_queries = 196;
        args.num_heads = 3;
        args.batch = batch;
        const cuda::AttentionPlan plan = cuda::attention_plan(kMany, args);
        const cuda::AttentionPlan shared = cuda::attention_plan(kOne, args);
        // The sums are the same for any device and batch, and every device has the memory.
        CHECK(plan.keys == shared.keys && plan.dim == shared.dim && plan.dim >= head_dim);
        CHECK(plan.shared_bytes <= std::size_t{99} << 10);
        CHECK(shared.shared_bytes <= std::size_t{99} << 10);
        CHECK(!plan.shares_keys && plan.blocks_x == 13);
        CHECK(shared.shares_keys == (head_dim <= 64) &&
              (!shared.shares_keys || shared.blocks_x == 4));
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
    check_counts(type);
    check_steps(type);
    check_batches(type);
    check_magnitudes(type);
    check_nan(type);
  }
  return finish("attention on a GPU");
}
