// attention_int16: every variant against a softmax in double precision; rows have gaps, which a
// write beside the contract would show; and the same bits for any split.
#include <algorithm>

#include "attention_head.h"
#include "core/arena.h"
#include "kernels/attention_int16/attention_int16.h"

namespace tokenfuse::test {
namespace {

struct Head : AttentionHead {
  Arena scratch;

  Head(std::int64_t queries, std::int64_t keys, std::int64_t head_dim, Bias kind, Layout layout)
      : AttentionHead(queries, keys, head_dim, kind, layout),
        scratch(std::max(attention_int16_scratch_bytes(keys, head_dim), Arena::kAlignment)) {}

  void run(Isa isa) {
    const std::size_t mark = scratch.mark();
    attention_int16_kernel(isa)(args, scratch.bytes(scratch.capacity_bytes()));
    scratch.release(mark);
  }

  // The inputs are within half a step, so scores within h (|q| s_k + |k| s_q) / 2 and a little;
  // weights within twice that, 5e-6 of the exponential and half a step of 16 bits each.
  Expected expected(std::int64_t i, std::int64_t d) const {
    const double n = std::min(32767.0, std::floor(std::sqrt(2147483647.0 / args.head_dim)));
    double top = -HUGE_VAL, largest = 0.0, top_q = 0.0, top_k = 0.0;
    std::vector<double> scores;
    for (std::int64_t j = 0; j < args.num_keys; ++j) {
      for (std::int64_t e = 0; e < args.head_dim; ++e) {
        top_q = std::max(top_q, std::fabs(static_cast<double>(q.at(i, e))));
        top_k = std::max(top_k, std::fabs(static_cast<double>(k.at(j, e))));
      }
      scores.push_back(score(i, j));
      top = std::max(top, scores.back());
      largest = std::max(largest, std::fabs(static_cast<double>(v.at(j, d))));
    }
    double sum = 0.0, value = 0.0;
    for (std::int64_t j = 0; j < args.num_keys; ++j) {
      const double weight = std::exp(scores[static_cast<std::size_t>(j)] - top);
      sum += weight;
      value += weight * v.at(j, d);
    }
    const double score_error = static_cast<double>(args.scale) *
                               static_cast<double>(args.head_dim) * 1.01 * top_q * top_k / n;
    const double relative =
        2.0 * (score_error + 1e-5) + (static_cast<double>(args.num_keys) + 1.0) * 0.51 / 32767.0;
    return {sum == 0.0 ? 0.0 : value / sum, 1.1 * relative * largest + kTiny};
  }
};

void check_sizes(Isa isa) {
  // Around tiles of 4, 5, 13 and 14 rows, vectors of 8 and 16, pairs of keys and columns.
  for (const std::int64_t queries : {0, 1, 4, 5, 13, 14, 15, 29}) {
    for (const std::int64_t keys : {0, 1, 2, 7, 16, 17, 33, 67}) {
      for (const std::int64_t head_dim : {0, 1, 2, 7, 16, 17, 32, 37}) {
        set_case("%s, %d queries, %d keys, head %d", isa_name(isa), static_cast<int>(queries),
                 static_cast<int>(keys), static_cast<int>(head_dim));
        const Bias kind = keys % 3 == 1 ? Bias::kRelative : Bias::kNone;
        Head head(queries, keys, head_dim, kind, kLayouts[keys % 2]);
        head.run(isa);
        check_rows("o", head.o,
                   [&](std::int64_t i, std::int64_t d) { return head.expected(i, d); });
      }
    }
  }
}

void check_splits(Isa isa) {
  set_case("%s, splits", isa_name(isa));
  Head whole(41, 50, 24, Bias::kRelative, kLayouts[1]);
  whole.run(isa);
  const Rows at_once = whole.o.copy();
  const AttentionArgs all = whole.args;
  for (const std::int64_t at : {1, 13, 14, 30}) {
    whole.o.fill(0.0f);
    for (const bool second : {false, true}) {
      const std::int64_t begin = second ? at : 0;
      whole.args = all;
      whole.args.q += begin * all.ldq;
      whole.args.o += begin * all.ldo;
      whole.args.bias += begin * all.ldb;
      whole.args.num_queries = second ? all.num_queries - at : at;
      whole.run(isa);
    }
    CHECK(whole.o.same_bits(at_once));
  }
}

void check_nan(Isa isa) {
  set_case("%s, NaN", isa_name(isa));
  Head head(20, 35, 17, Bias::kNone, kLayouts[1]);
  head.q.at(3, 16) = kNan;
  head.q.at(9, 0) = kInf;
  head.run(isa);
  for (std::int64_t i = 0; i < 20; ++i) {
    CHECK(i == 3 || i == 9 ? head.o.row_is_nan(i) : head.o.row_is_finite(i));
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_splits(isa);
    check_nan(isa);
  }
  return finish("attention_int16");
}
