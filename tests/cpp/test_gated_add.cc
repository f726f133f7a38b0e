// gated_add: every variant against a x + b z in double precision.
#include "kernels/gated_add/gated_add.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

enum class Output { kOwn, kX, kZ };

// Two products and a sum: a unit of rounding of each term.
void check_one(Isa isa, float a, float b, std::int64_t n, float scale, Output output,
               Layout layout) {
  const Rows x = Rows::random(1, scale, 1, n, 0, layout.offset);
  const Rows z = Rows::random(2, scale, 1, n, 0, layout.offset);
  const Rows y = output == Output::kX   ? x.copy()
                 : output == Output::kZ ? z.copy()
                                        : Rows(1, n, 0, layout.offset);
  gated_add_kernel(isa)(a, (output == Output::kX ? y : x).data(), b,
                        (output == Output::kZ ? y : z).data(), y.data(), n);
  check_rows("y", y, [&](std::int64_t i, std::int64_t j) {
    const double first = static_cast<double>(a) * x.at(i, j);
    const double second = static_cast<double>(b) * z.at(i, j);
    return Expected{first + second, kEps * (std::fabs(first) + std::fabs(second)) + kTiny * kEps};
  });
}

void check_sizes(Isa isa) {
  for (const std::int64_t n : {0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 97}) {
    for (const Layout& layout : kLayouts) {
      for (const Output output : {Output::kOwn, Output::kX, Output::kZ}) {
        set_case("%s, n %d, offset %d, output %d", isa_name(isa), static_cast<int>(n),
                 static_cast<int>(layout.offset), static_cast<int>(output));
        check_one(isa, 0.75f, -1.3f, n, 1.0f, output, layout);
      }
    }
  }
  for (const float scale : {1e38f, 1e-38f, 1e-43f}) {
    set_case("%s, scale %g", isa_name(isa), static_cast<double>(scale));
    check_one(isa, 0.75f, -1.3f, 37, scale, Output::kOwn, kLayouts[0]);
    check_one(isa, 1.0f, 0.0f, 37, scale, Output::kOwn, kLayouts[0]);
  }
}

void check_nan_and_infinity(Isa isa) {
  for (const std::int64_t at : {0, 9, 36}) {
    set_case("%s, NaN and infinity at %d", isa_name(isa), static_cast<int>(at));
    const Rows x = Rows::random(1, 1.0f, 2, 37), z = Rows::random(2, 1.0f, 1, 37), y(2, 37);
    x.at(0, at) = kNan;
    x.at(1, at) = kInf;
    for (std::int64_t i = 0; i < 2; ++i) {
      gated_add_kernel(isa)(2.0f, &x.at(i, 0), 0.5f, z.data(), &y.at(i, 0), 37);
    }
    bool only_there = true;
    for (std::int64_t j = 0; j < 37; ++j) {
      only_there &= std::isnan(y.at(0, j)) == (j == at);
      only_there &= std::isinf(y.at(1, j)) == (j == at);
    }
    CHECK(only_there);
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_nan_and_infinity(isa);
  }
  return finish("gated_add");
}
