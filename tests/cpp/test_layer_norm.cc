// layer_norm: every variant against mean and variance in double precision.
#include "kernels/layer_norm/layer_norm.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

constexpr float kNormEps = 1e-6f;

// The mean is off by N eps mean |x|, which the division by the deviation magnifies; variance,
// square root and three products add some N eps of the result.
Expected expected(const Rows& x, const Rows& weight, const Rows& bias, std::int64_t i,
                  std::int64_t j) {
  const auto n = static_cast<double>(x.width());
  double mean = 0.0, mean_abs = 0.0, variance = 0.0;
  for (std::int64_t t = 0; t < x.width(); ++t) mean += x.at(i, t) / n;
  for (std::int64_t t = 0; t < x.width(); ++t) {
    mean_abs += std::fabs(x.at(i, t)) / n;
    variance += (x.at(i, t) - mean) * (x.at(i, t) - mean) / n;
  }
  const double deviation = std::sqrt(variance + static_cast<double>(kNormEps));
  const double result = (x.at(i, j) - mean) / deviation;
  const double lost = (n + 4.0) * kEps * mean_abs / deviation;
  const double w = weight.at(0, j), b = bias.at(0, j);
  return {result * w + b, (lost + (n + 8.0) * kEps * std::fabs(result)) * std::fabs(w) +
                              2.0 * kEps * std::fabs(b) + kTiny};
}

void check_one(Isa isa, const Rows& x, bool in_place, const Layout& layout) {
  const Rows weight = Rows::random(2, 2.0f, 1, x.width(), 0, layout.offset);
  const Rows bias = Rows::random(3, 1.0f, 1, x.width(), 0, layout.offset);
  const Rows y = in_place ? x.copy() : Rows(x.num_rows(), x.width(), layout.gap + 2, layout.offset);
  layer_norm_kernel(isa)(in_place ? y.data() : x.data(), x.stride(), weight.data(), bias.data(),
                         kNormEps, y.data(), y.stride(), x.num_rows(), x.width());
  check_rows("y", y,
             [&](std::int64_t i, std::int64_t j) { return expected(x, weight, bias, i, j); });
}

void check_sizes(Isa isa) {
  for (const std::int64_t m : {0, 1, 3}) {
    for (const std::int64_t n : {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 97, 128}) {
      for (const Layout& layout : kLayouts) {
        for (const bool in_place : {false, true}) {
          set_case("%s, m %d, n %d, gap %d, in place %d", isa_name(isa), static_cast<int>(m),
                   static_cast<int>(n), static_cast<int>(layout.gap), in_place);
          check_one(isa, Rows::random(1, 1.0f, m, n, layout.gap, layout.offset), in_place, layout);
        }
      }
    }
  }
}

// Squares of 1e15 and below are floats; the contract sums in float32.
void check_magnitudes(Isa isa) {
  for (const float scale : {1e15f, 1e-15f, 1e-30f}) {
    set_case("%s, scale %g", isa_name(isa), static_cast<double>(scale));
    check_one(isa, Rows::random(1, scale, 2, 37), false, kLayouts[0]);
  }
  for (const float offset : {1.0f, 1e3f}) {
    set_case("%s, constant %g", isa_name(isa), static_cast<double>(offset));
    const Rows constant(2, 37);
    constant.fill(offset);
    check_one(isa, constant, false, kLayouts[0]);
    set_case("%s, far from 0 by %g", isa_name(isa), static_cast<double>(offset));
    const Rows far = Rows::random(1, 1.0f, 2, 37);
    for (std::int64_t j = 0; j < 37; ++j) far.at(1, j) += offset;
    check_one(isa, far, false, kLayouts[0]);
  }
}

void check_nan(Isa isa) {
  // In a whole vector, and behind the last one.
  for (const std::int64_t at : {0, 5, 36}) {
    set_case("%s, NaN at %d", isa_name(isa), static_cast<int>(at));
    const Rows x = Rows::random(1, 1.0f, 3, 37), y(3, 37);
    x.at(1, at) = kNan;
    const Rows weight = Rows::random(2, 1.0f, 1, 37), bias = Rows::random(3, 1.0f, 1, 37);
    layer_norm_kernel(isa)(x.data(), 37, weight.data(), bias.data(), kNormEps, y.data(), 37, 3, 37);
    CHECK(y.row_is_finite(0));
    CHECK(y.row_is_nan(1));
    CHECK(y.row_is_finite(2));
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_magnitudes(isa);
    check_nan(isa);
  }
  return finish("layer_norm");
}
