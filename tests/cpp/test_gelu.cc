// gelu: both forms and the gated one, every variant, over all magnitudes of float.
#include <algorithm>
#include <cstring>

#include "kernels/gelu/gelu.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

double gelu(GeluForm form, double x) {
  if (form == GeluForm::kErf) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  return x / (1.0 + std::exp(-2.0 * std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

// The contract's bound, and half a unit of rounding for the product with z.
Expected expected(GeluForm form, double x, const float* z) {
  const double value = gelu(form, x), bound = 4e-7 * std::max(1.0, std::fabs(x));
  if (z == nullptr) return {value, bound};
  const double gate = *z;
  return {value * gate, bound * std::fabs(gate) + kEps * std::fabs(value * gate) + kTiny};
}

enum class Output { kOwn, kX, kZ };

void check_one(Isa isa, GeluForm form, const Rows& x, bool gated, Output output, Layout layout) {
  const Rows z = Rows::random(2, 2.0f, x.num_rows(), x.width(), 5, layout.offset);
  const Rows y = output == Output::kX   ? x.copy()
                 : output == Output::kZ ? z.copy()
                                        : Rows(x.num_rows(), x.width(), 2, layout.offset);
  const Rows& from = output == Output::kX ? y : x;
  const Rows& gate = output == Output::kZ ? y : z;
  gelu_kernel(isa)(form, from.data(), from.stride(), gated ? gate.data() : nullptr, gate.stride(),
                   y.data(), y.stride(), x.num_rows(), x.width());
  check_rows("y", y, [&](std::int64_t i, std::int64_t j) {
    return expected(form, x.at(i, j), gated ? &z.at(i, j) : nullptr);
  });
}

void check_sizes(Isa isa, GeluForm form) {
  for (const std::int64_t m : {0, 1, 3}) {
    for (const std::int64_t n : {0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 97}) {
      for (const Layout& layout : kLayouts) {
        set_case("%s, form %d, m %d, n %d, gap %d", isa_name(isa), static_cast<int>(form),
                 static_cast<int>(m), static_cast<int>(n), static_cast<int>(layout.gap));
        const Rows x = Rows::random(1, 4.0f, m, n, layout.gap, layout.offset);
        check_one(isa, form, x, false, Output::kOwn, layout);
        check_one(isa, form, x, false, Output::kX, layout);
        check_one(isa, form, x, true, Output::kOwn, layout);
        check_one(isa, form, x, true, Output::kX, layout);
        check_one(isa, form, x, true, Output::kZ, layout);
      }
    }
  }
}

// Bit patterns a prime apart: about 260,000 finite floats of both signs and all exponents.
void check_all_magnitudes(Isa isa, GeluForm form) {
  set_case("%s, form %d, all magnitudes", isa_name(isa), static_cast<int>(form));
  std::vector<float> values{0.0f, -0.0f, std::numeric_limits<float>::max(),
                            std::numeric_limits<float>::lowest(),
                            std::numeric_limits<float>::denorm_min()};
  for (std::uint64_t pattern = 0; pattern < (1ull << 32); pattern += 16381) {
    const auto bits = static_cast<std::uint32_t>(pattern);
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    if (std::isfinite(value)) values.push_back(value);
  }
  const Rows x(1, static_cast<std::int64_t>(values.size()));
  std::copy(values.begin(), values.end(), x.data());
  check_one(isa, form, x, false, Output::kOwn, kLayouts[0]);
}

void check_nan(Isa isa, GeluForm form) {
  for (const std::int64_t at : {0, 9, 36}) {
    set_case("%s, form %d, NaN at %d", isa_name(isa), static_cast<int>(form), static_cast<int>(at));
    const Rows x = Rows::random(1, 1.0f, 1, 37), y(1, 37);
    x.at(0, at) = kNan;
    gelu_kernel(isa)(form, x.data(), 37, nullptr, 0, y.data(), 37, 1, 37);
    bool only_there = true;
    for (std::int64_t j = 0; j < 37; ++j) only_there &= std::isnan(y.at(0, j)) == (j == at);
    CHECK(only_there);
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    for (const auto form : {tokenfuse::GeluForm::kErf, tokenfuse::GeluForm::kTanh}) {
      check_sizes(isa, form);
      check_all_magnitudes(isa, form);
      check_nan(isa, form);
    }
  }
  return finish("gelu");
}
