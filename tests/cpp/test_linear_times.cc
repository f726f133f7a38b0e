// What is timed is the layer: every precision on every instruction set against sums in double
// precision, and one time for each. Which one is faster is no matter of a test.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "engine/linear_times.h"

namespace tokenfuse::test {
namespace {

constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kBf16, Precision::kInt8};
// A product's error, its factors being at most 1: half a step of each factor, of 2^-8 with bf16 and
// of max / 127 with int8, and a tenth more for their product.
constexpr double kErrors[] = {1e-5, 1.1 / 256, 1.1 / 127};

std::vector<float> waves(std::int64_t count, double step) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(std::sin(step * static_cast<double>(i)));
  }
  return values;
}

void check_products(Isa isa, const LinearShape& shape) {
  const std::vector<float> x = waves(shape.rows * shape.num_in, 0.7);
  const std::vector<float> w = waves(shape.num_out * shape.num_in, 1.3);
  for (int p = 0; p < 3; ++p) {
    set_case("%s, precision %d, %d x %d x %d", isa_name(isa), p, static_cast<int>(shape.rows),
             static_cast<int>(shape.num_in), static_cast<int>(shape.num_out));
    std::vector<float> y(static_cast<std::size_t>(shape.rows * shape.num_out), NAN);
    TimedLinear layer(kPrecisions[p], isa, shape, w);
    // Twice: nothing of a call may be left in the next one.
    layer.run(x.data(), y.data());
    layer.run(x.data(), y.data());
    bool near = true;
    for (std::int64_t m = 0; m < shape.rows; ++m) {
      for (std::int64_t n = 0; n < shape.num_out; ++n) {
        double sum = 0.0;
        for (std::int64_t k = 0; k < shape.num_in; ++k) {
          sum += static_cast<double>(x[static_cast<std::size_t>(m * shape.num_in + k)]) *
                 static_cast<double>(w[static_cast<std::size_t>(n * shape.num_in + k)]);
        }
        const double got = y[static_cast<std::size_t>(m * shape.num_out + n)];
        const double want = 0.5 * sum * (1.0 + std::erf(sum / std::sqrt(2.0)));
        // GELU's slope is below 1.13; it is itself within 2e-4 of max(1, |sum|).
        const double bound = 1.13 * kErrors[p] * static_cast<double>(shape.num_in);
        near = near && std::fabs(got - want) <= bound + 2e-4 * std::max(1.0, std::fabs(sum));
      }
    }
    CHECK(near);
  }
}

void check_times(Isa isa) {
  set_case("times, %s", isa_name(isa));
  for (const double budget : {0.0, 1e-3}) {
    const auto times = time_linears({kPrecisions, kPrecisions + 3}, {5, 24, 40}, isa, budget);
    CHECK(times.size() == 3);
    for (const double seconds : times) CHECK(std::isfinite(seconds) && seconds >= 0.0);
  }
  CHECK(time_linears({Precision::kInt8}, {1, 1, 1}, isa, 0.0).size() == 1);
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse;
  for (const Isa isa : kIsas) {
    if (!isa_available(isa)) continue;
    for (const LinearShape& shape :
         {LinearShape{1, 1, 1}, LinearShape{3, 7, 13}, LinearShape{37, 61, 97}}) {
      test::check_products(isa, shape);
    }
    test::check_times(isa);
  }
  return test::finish("linear_times");
}
