// merge_attention: every variant against a softmax in double precision; sums and weights too.
#include <algorithm>

#include "kernels/merge_attention/merge_attention.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

struct Merge {
  Rows q, x, mask, scratch, o, lse, weights;
  MergeAttentionArgs args{};

  Merge(std::int64_t num_rows, std::int64_t num_tokens, std::int64_t width, Layout layout)
      : q(Rows::random(1, 1.0f, num_rows, width, layout.gap, layout.offset)),
        x(Rows::random(2, 1.0f, num_tokens, width, 2 * layout.gap, layout.offset)),
        mask(1, num_tokens),
        scratch(1, static_cast<std::int64_t>(merge_attention_scratch_floats(width, num_rows))),
        o(num_rows, width, layout.gap, layout.offset),
        lse(1, num_rows),
        weights(num_rows, num_tokens, layout.gap, layout.offset) {
    mask.fill(0.0f);
    args.q = q.data();
    args.ldq = q.stride();
    args.x = x.data();
    args.ldx = x.stride();
    args.o = o.data();
    args.ldo = o.stride();
    args.lse = lse.data();
    args.num_rows = num_rows;
    args.num_tokens = num_tokens;
    args.width = width;
  }

  void run(Isa isa) const {
    merge_attention_kernel(isa).run(args, scratch.data());
    merge_attention_kernel(isa).weights(args, weights.data(), weights.stride());
  }

  double score(std::int64_t i, std::int64_t j) const {
    double sum = args.mask == nullptr ? 0.0 : args.mask[j];
    for (std::int64_t d = 0; d < args.width; ++d) {
      sum += static_cast<double>(q.at(i, d)) * x.at(j, d);
    }
    return sum;
  }
};

// One row in double precision. The scores are off by (D + 2) eps of their magnitude; their
// exponentials and sum add some eps.
struct Row {
  double top = -HUGE_VAL, sum = 0.0, lse = -HUGE_VAL, score_error = 0.0, lse_error = 0.0;

  Row(const Merge& merge, std::int64_t i) {
    double magnitude = 0.0;
    const MergeAttentionArgs& a = merge.args;
    for (std::int64_t j = 0; j < a.num_tokens; ++j) {
      top = std::max(top, merge.score(i, j));
      double terms = 0.0;
      for (std::int64_t d = 0; d < a.width; ++d) {
        terms += std::fabs(static_cast<double>(merge.q.at(i, d)) * merge.x.at(j, d));
      }
      magnitude = std::max(magnitude, terms);
    }
    for (std::int64_t j = 0; j < a.num_tokens && !std::isinf(top); ++j) {
      sum += std::exp(merge.score(i, j) - top);
    }
    if (sum > 0.0) lse = top + std::log(sum);
    score_error = static_cast<double>(a.width + 2) * kEps * magnitude;
    const double rounding = static_cast<double>(a.num_tokens + 8) * kEps;
    lse_error = score_error + rounding + (std::isinf(lse) ? 0.0 : 4.0 * kEps * std::fabs(lse));
  }
};

void check_result(const Merge& merge) {
  const MergeAttentionArgs& a = merge.args;
  std::vector<Row> rows;
  for (std::int64_t i = 0; i < a.num_rows; ++i) rows.emplace_back(merge, i);
  const auto weight = [&](std::int64_t i, std::int64_t j) {
    return std::isinf(rows[i].lse) ? 0.0 : std::exp(merge.score(i, j) - rows[i].lse);
  };
  // A weighted mean: the weights' relative error, twice, of the largest token.
  check_rows("o", merge.o, [&](std::int64_t i, std::int64_t d) {
    double value = 0.0, largest = 0.0;
    for (std::int64_t j = 0; j < a.num_tokens; ++j) {
      value += weight(i, j) * merge.x.at(j, d);
      largest = std::max(largest, std::fabs(static_cast<double>(merge.x.at(j, d))));
    }
    const double rounding = static_cast<double>(2 * a.num_tokens + 16) * kEps;
    return Expected{value, 2.0 * (2.0 * rows[i].score_error + rounding) * largest + kTiny};
  });
  check_rows("w", merge.weights, [&](std::int64_t i, std::int64_t j) {
    return Expected{weight(i, j), 2.0 * (rows[i].lse_error + rows[i].score_error) + kTiny};
  });
  bool all_near = true;
  for (std::int64_t i = 0; i < a.num_rows; ++i) {
    const double got = merge.lse.at(0, i), want = rows[i].lse;
    all_near &= std::isinf(want) ? got == want : std::fabs(got - want) <= rows[i].lse_error;
  }
  CHECK(all_near);
}

void check_sizes(Isa isa) {
  // Around 4 rows, lanes of 8 and 16, blocks of 32 tokens.
  for (const std::int64_t num_rows : {0, 1, 3, 4, 5, 17}) {
    for (const std::int64_t num_tokens : {0, 1, 7, 31, 32, 33, 64, 97}) {
      for (const std::int64_t width : {0, 1, 7, 8, 9, 16, 17, 37}) {
        for (const Layout& layout : kLayouts) {
          set_case("%s, %d rows, %d tokens, width %d, gap %d", isa_name(isa),
                   static_cast<int>(num_rows), static_cast<int>(num_tokens),
                   static_cast<int>(width), static_cast<int>(layout.gap));
          const Merge merge(num_rows, num_tokens, width, layout);
          merge.run(isa);
          check_result(merge);
        }
      }
    }
  }
}

void check_without_lse(Isa isa) {
  set_case("%s, no lse", isa_name(isa));
  const Merge with(7, 40, 19, kLayouts[1]);
  Merge without(7, 40, 19, kLayouts[1]);
  with.run(isa);
  without.args.lse = nullptr;
  merge_attention_kernel(isa).run(without.args, without.scratch.data());
  CHECK(without.o.same_bits(with.o));
  CHECK(without.lse.row_is_unset(0));
}

// The first block, the last one, blocks in between, a single token, all of them; with scores
// around 0, and so far below that exp of one without its row's maximum is 0.
void check_masks(Isa isa, float shift) {
  struct Range {
    std::int64_t begin, end;
  };
  for (const Range masked :
       {Range{0, 40}, Range{30, 70}, Range{32, 64}, Range{5, 6}, Range{1, 70}, Range{0, 70}}) {
    set_case("%s, masked %d to %d, shift %g", isa_name(isa), static_cast<int>(masked.begin),
             static_cast<int>(masked.end), static_cast<double>(shift));
    Merge merge(9, 70, 24, kLayouts[1]);
    merge.args.mask = merge.mask.data();
    for (std::int64_t i = 0; i < 9; ++i) merge.q.at(i, 0) = 1.0f;
    for (std::int64_t j = 0; j < 70; ++j) merge.x.at(j, 0) += shift;
    for (std::int64_t j = masked.begin; j < masked.end; ++j) merge.mask.at(0, j) = -kInf;
    merge.run(isa);
    check_result(merge);
    bool none = true;
    for (std::int64_t i = 0; i < 9; ++i) {
      for (std::int64_t j = masked.begin; j < masked.end; ++j) {
        none &= merge.weights.at(i, j) == 0.0f;
      }
      if (masked.end - masked.begin < 70) continue;
      CHECK(merge.lse.at(0, i) == -kInf);
      for (std::int64_t d = 0; d < 24; ++d) none &= merge.o.at(i, d) == 0.0f;
    }
    CHECK(none);
  }
}

// The maximum moves in every block, up or down; then one token far above all others.
void check_moving_maximum(Isa isa) {
  for (const float sign : {1.0f, -1.0f}) {
    set_case("%s, maximum moves by %g", isa_name(isa), static_cast<double>(sign));
    const Merge merge(5, 160, 16, kLayouts[0]);
    for (std::int64_t j = 0; j < 160; ++j) {
      merge.x.at(j, 0) = sign * (static_cast<float>(j) - 80.0f);
    }
    merge.run(isa);
    check_result(merge);
  }
  set_case("%s, scores of 1e30", isa_name(isa));
  const Merge merge(6, 80, 16, kLayouts[0]);
  merge.q.fill(0.0f);
  merge.x.fill(0.0f);
  for (std::int64_t i = 0; i < 6; ++i) {
    merge.q.at(i, i) = 1e30f;
    merge.x.at(13 * i + 2, i) = 1.0f;
  }
  merge.run(isa);
  bool picked = true;
  for (std::int64_t i = 0; i < 6; ++i) {
    for (std::int64_t d = 0; d < 16; ++d) {
      picked &= merge.o.at(i, d) == (d == i ? 1.0f : 0.0f);
    }
  }
  CHECK(picked);
}

void check_nan(Isa isa) {
  for (const std::int64_t token : {3, 68}) {
    set_case("%s, NaN of token %d", isa_name(isa), static_cast<int>(token));
    Merge merge(6, 70, 17, kLayouts[1]);
    merge.q.at(4, 2) = kNan;
    merge.run(isa);
    for (std::int64_t i = 0; i < 6; ++i) {
      CHECK(i == 4 ? merge.o.row_is_nan(i) : merge.o.row_is_finite(i));
      CHECK(i == 4 ? merge.weights.row_is_nan(i) : merge.weights.row_is_finite(i));
      CHECK(std::isnan(merge.lse.at(0, i)) == (i == 4));
    }
    // Whatever is masked besides, before or behind.
    merge.x.at(token, 5) = kNan;
    merge.args.mask = merge.mask.data();
    for (std::int64_t j = 0; j < 70; ++j) merge.mask.at(0, j) = j == token ? 0.0f : -kInf;
    merge.run(isa);
    for (std::int64_t i = 0; i < 6; ++i) CHECK(merge.o.row_is_nan(i));
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_without_lse(isa);
    check_masks(isa, 0.0f);
    check_masks(isa, -300.0f);
    check_moving_maximum(isa);
    check_nan(isa);
  }
  return finish("merge_attention");
}
