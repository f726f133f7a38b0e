// attention: every variant against a softmax in double precision.
#include <algorithm>

#include "attention_head.h"

namespace tokenfuse::test {
namespace {

struct Head : AttentionHead {
  Rows scratch;

  Head(std::int64_t queries, std::int64_t keys, std::int64_t head_dim, Bias kind, Layout layout,
       float size = 1.0f)
      : AttentionHead(queries, keys, head_dim, kind, layout, size),
        scratch(1, static_cast<std::int64_t>(attention_scratch_floats(keys, head_dim))) {}

  void run(Isa isa) const { attention_kernel(isa)(args, scratch.data()); }

  // The scores of a row are off by (h + 3) eps of their magnitude; the weights by twice that
  // and some eps of exp and of the sum; and a weighted mean of values by twice as much.
  Expected expected(std::int64_t i, std::int64_t d) const {
    double top = -HUGE_VAL, magnitude = 0.0, largest = 0.0;
    for (std::int64_t j = 0; j < args.num_keys; ++j) {
      const double s = score(i, j);
      if (std::isinf(s)) continue;
      top = std::max(top, s);
      double terms = args.bias == nullptr ? 0.0 : std::fabs(args.bias[i * args.ldb + j]);
      for (std::int64_t e = 0; e < args.head_dim; ++e) {
        terms += std::fabs(static_cast<double>(args.scale) * q.at(i, e) * k.at(j, e));
      }
      magnitude = std::max(magnitude, terms);
      largest = std::max(largest, std::fabs(static_cast<double>(v.at(j, d))));
    }
    double sum = 0.0, value = 0.0;
    for (std::int64_t j = 0; j < args.num_keys; ++j) {
      const double weight = std::isinf(top) ? 0.0 : std::exp(score(i, j) - top);
      sum += weight;
      value += weight * v.at(j, d);
    }
    const double score_error = static_cast<double>(args.head_dim + 3) * kEps * magnitude;
    const double relative =
        2.0 * (2.0 * score_error + static_cast<double>(2 * args.num_keys + 16) * kEps);
    return {sum == 0.0 ? 0.0 : value / sum, relative * largest + kTiny};
  }

  void check_result() const {
    check_rows("o", o, [&](std::int64_t i, std::int64_t d) { return expected(i, d); });
  }
};

void check_sizes(Isa isa) {
  // Around 4 query rows, lanes of 8 and 16, keys padded to 32.
  for (const std::int64_t queries : {0, 1, 3, 4, 5, 9}) {
    for (const std::int64_t keys : {0, 1, 7, 8, 15, 31, 32, 33, 67}) {
      for (const std::int64_t head_dim : {0, 1, 7, 8, 9, 16, 17, 37}) {
        for (const Bias bias : {Bias::kNone, Bias::kRows, Bias::kRelative}) {
          set_case("%s, %d queries, %d keys, head %d, bias %d", isa_name(isa),
                   static_cast<int>(queries), static_cast<int>(keys), static_cast<int>(head_dim),
                   static_cast<int>(bias));
          const Head head(queries, keys, head_dim, bias, kLayouts[keys % 2]);
          head.run(isa);
          head.check_result();
        }
      }
    }
  }
}

// Rows without a key, with one key, with the first and the last masked; and causality.
void check_masks(Isa isa) {
  set_case("%s, masks", isa_name(isa));
  const std::int64_t keys = 45;
  const Head head(9, keys, 12, Bias::kRows, kLayouts[1]);
  for (std::int64_t j = 0; j < keys; ++j) {
    head.bias.at(0, j) = head.bias.at(5, j) = -kInf;
    if (j != 40) head.bias.at(1, j) = -kInf;
    if (j > 2) head.bias.at(2, j) = -kInf;
    if (j < 40) head.bias.at(6, j) = -kInf;
    if (j > 7) head.bias.at(7, j) = -kInf;
  }
  head.run(isa);
  head.check_result();
  for (std::int64_t d = 0; d < 12; ++d) {
    CHECK(head.o.at(0, d) == 0.0f && head.o.at(5, d) == 0.0f);
    CHECK(head.o.at(1, d) == head.v.at(40, d));
  }
}

// Equal keys share equally; scores of thousands pick one key without overflow.
void check_ties_and_magnitudes(Isa isa) {
  set_case("%s, ties", isa_name(isa));
  const Head ties(5, 35, 9, Bias::kNone, kLayouts[0], 100.0f);
  for (std::int64_t j = 1; j < 35; ++j) {
    for (std::int64_t d = 0; d < 9; ++d) ties.k.at(j, d) = ties.k.at(0, d);
  }
  ties.run(isa);
  check_rows("o", ties.o, [&](std::int64_t, std::int64_t d) {
    double mean = 0.0;
    for (std::int64_t j = 0; j < 35; ++j) mean += ties.v.at(j, d) / 35.0;
    // All scores of a row are the same float: only the sums round.
    return Expected{mean, (2.0 * 35.0 + 16.0) * kEps};
  });
  for (const float size : {1e4f, 1e30f}) {
    set_case("%s, scores of %g", isa_name(isa), static_cast<double>(size));
    const Head one(5, 35, 8, Bias::kNone, kLayouts[0]);
    one.q.fill(0.0f);
    one.k.fill(0.0f);
    for (std::int64_t i = 0; i < 5; ++i) one.q.at(i, i) = i % 2 == 0 ? size : -size;
    for (std::int64_t i = 0; i < 5; ++i) one.k.at(6 * i + 3, i) = i % 2 == 0 ? 1.0f : -1.0f;
    one.run(isa);
    bool picked = true;
    for (std::int64_t i = 0; i < 5; ++i) {
      for (std::int64_t d = 0; d < 8; ++d) picked &= one.o.at(i, d) == one.v.at(6 * i + 3, d);
    }
    CHECK(picked);
  }
}

void check_nan(Isa isa) {
  set_case("%s, NaN", isa_name(isa));
  const Head head(6, 35, 17, Bias::kRows, kLayouts[1]);
  head.q.at(1, 3) = kNan;
  // The only score that is not masked.
  for (std::int64_t j = 0; j < 35; ++j) head.bias.at(4, j) = j == 34 ? kNan : -kInf;
  head.run(isa);
  for (std::int64_t i = 0; i < 6; ++i) {
    CHECK(i == 1 || i == 4 ? head.o.row_is_nan(i) : head.o.row_is_finite(i));
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_masks(isa);
    check_ties_and_magnitudes(isa);
    check_nan(isa);
  }
  return finish("attention");
}
