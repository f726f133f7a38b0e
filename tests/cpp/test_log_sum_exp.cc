// log_sum_exp: every variant against sums in double precision.
#include "kernels/log_sum_exp/log_sum_exp.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

std::int64_t first_largest(const Rows& x, std::int64_t i) {
  std::int64_t top = 0;
  for (std::int64_t j = 1; j < x.width(); ++j) {
    if (x.at(i, j) > x.at(i, top)) top = j;
  }
  return top;
}

// A block of 1,024 is summed in float32, exponentials lose 2 eps and what the difference lost; the
// logarithm makes all of that absolute.
Expected expected(const Rows& x, std::int64_t i, double spread) {
  const double largest = x.at(i, first_largest(x, i));
  double sum = 0.0;
  for (std::int64_t j = 0; j < x.width(); ++j) {
    sum += std::exp(static_cast<double>(x.at(i, j)) - largest);
  }
  const double result = std::log(sum);
  const double terms = std::fmin(static_cast<double>(x.width()), 1024.0);
  return {result, (terms + 2.0 + spread / 2.0) * kEps + kEps * std::fabs(result)};
}

void check_one(Isa isa, const Rows& x, float scale) {
  const std::int64_t m = x.num_rows();
  const Rows rest(m, 1);
  std::vector<std::int32_t> top(static_cast<std::size_t>(m) + 1, -7);
  log_sum_exp_kernel(isa)(x.data(), x.stride(), rest.data(), top.data(), m, x.width());
  const double spread = std::fmin(2.0 * static_cast<double>(scale), 88.0);
  check_rows("rest", rest, [&](std::int64_t i, std::int64_t) { return expected(x, i, spread); });
  for (std::int64_t i = 0; i < m; ++i) {
    CHECK(top[static_cast<std::size_t>(i)] == first_largest(x, i));
  }
  CHECK(top[static_cast<std::size_t>(m)] == -7);
}

void check_sizes(Isa isa) {
  for (const std::int64_t m : {0, 1, 3}) {
    for (const std::int64_t n :
         {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 97, 1023, 1024, 1025, 2053}) {
      for (const Layout& layout : kLayouts) {
        for (const float scale : {1e-20f, 3.0f, 200.0f}) {
          set_case("%s, m %d, n %d, gap %d, scale %g", isa_name(isa), static_cast<int>(m),
                   static_cast<int>(n), static_cast<int>(layout.gap), static_cast<double>(scale));
          check_one(isa, Rows::random(1, scale, m, n, layout.gap, layout.offset), scale);
        }
      }
    }
  }
}

void check_not_finite(Isa isa) {
  // In a whole vector, behind the last one, and in a later block.
  for (const std::int64_t at : {0, 5, 1028}) {
    for (const float value : {kNan, kInf}) {
      set_case("%s, %g at %d", isa_name(isa), static_cast<double>(value), static_cast<int>(at));
      const Rows x = Rows::random(1, 1.0f, 3, 1029), y(3, 1);
      x.at(1, at) = value;
      std::int32_t top[3];
      log_sum_exp_kernel(isa)(x.data(), x.stride(), y.data(), top, 3, x.width());
      CHECK(y.row_is_finite(0));
      CHECK(y.row_is_nan(1));
      CHECK(y.row_is_finite(2));
      CHECK(top[1] >= 0 && top[1] < 1029);
      if (value == kInf) CHECK(top[1] == at);
    }
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_not_finite(isa);
  }
  return finish("log_sum_exp");
}
