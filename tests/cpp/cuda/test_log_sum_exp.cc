// log_sum_exp on a GPU against double precision.
#include "device_rows.h"
#include "kernels/log_sum_exp/cuda.h"
#include "schedules.h"

using namespace tokenfuse::cuda;

namespace tokenfuse::test {
namespace {

int first_largest(const Rows& x, std::int64_t i) {
  int top = 0;
  for (int j = 1; j < x.width(); ++j) {
    if (x.at(i, j) > x.at(i, top)) top = j;
  }
  return top;
}

struct Result {
  Rows log_prob;
  std::vector<int> top;
};

Result run(const Rows& x, const std::vector<int>* given) {
  Result result{Rows(x.num_rows(), 1), std::vector<int>(x.num_rows() + 1, -7)};
  LogSumExpArgs args{};
  args.x = x.data();
  args.ldx = x.stride();
  args.given = given == nullptr ? nullptr : given->data();
  args.top = result.top.data();
  args.log_prob = result.log_prob.data();
  args.m = static_cast<int>(x.num_rows());
  args.n = static_cast<int>(x.width());
  Stream stream;
  log_sum_exp(stream, args);
  return result;
}

// A thread adds at most n / 1024 + 32 exponentials in a row, then come 10 merges. An exponential is
// off by 2 ulp, and by what the difference lost (spread / 2 eps) and its product with log2 e (the
// same), and so are the factors of the merges, whose differences add up to no more than the spread.
// The logarithm makes all that absolute; then come its own rounding and those of two differences.
Expected expected(const Rows& x, std::int64_t i, int at, double spread) {
  const double largest = x.at(i, first_largest(x, i));
  double sum = 0.0;
  for (std::int64_t j = 0; j < x.width(); ++j) {
    sum += std::exp(static_cast<double>(x.at(i, j)) - largest);
  }
  const double value = (x.at(i, at) - largest) - std::log(sum);
  const double terms = static_cast<double>(x.width()) / 1024.0 + 42.0;
  return {value, (terms + 24.0 + 3.0 * spread) * kEps + 4.0 * kEps * std::fabs(value)};
}

void check_one(const Rows& x, float scale) {
  const Result first = run(x, nullptr);
  // Beyond 88 below the largest, exponentials are too small to count.
  const double spread = std::fmin(2.0 * static_cast<double>(scale), 88.0);
  check_rows("log_prob", first.log_prob, [&](std::int64_t i, std::int64_t) {
    return expected(x, i, first_largest(x, i), spread);
  });
  std::vector<int> given;
  for (std::int64_t i = 0; i < x.num_rows(); ++i) {
    CHECK(first.top[i] == first_largest(x, i));
    given.push_back(static_cast<int>((7 * i + x.width() - 1) % x.width()));
  }
  CHECK(first.top[x.num_rows()] == -7);
  const Result of_given = run(x, &given);
  check_rows("log_prob of given", of_given.log_prob,
             [&](std::int64_t i, std::int64_t) { return expected(x, i, given[i], spread); });
  for (const emulator::Schedule& schedule : schedules()) {
    emulator::set_schedule(schedule);
    const Result again = run(x, nullptr);
    CHECK(again.log_prob.same_bits(first.log_prob) && again.top == first.top);
  }
  emulator::set_schedule({});
}

void check_sizes() {
  for (const int m : {1, 3}) {
    for (const int n : {1, 2, 3, 4, 5, 31, 33, 127, 128, 129, 1023, 1024, 1025, 4093, 4097}) {
      for (const Layout& layout : {Layout{0, 0}, Layout{3, 1}, Layout{4, 0}}) {
        for (const float scale : {1e-20f, 3.0f, 200.0f}) {
          set_case("m %d, n %d, gap %d, scale %g", m, n, static_cast<int>(layout.gap),
                   static_cast<double>(scale));
          check_one(Rows::random(1, scale, m, n, layout.gap, layout.offset), scale);
        }
      }
    }
  }
  // The vocabulary, and more than one batch of loads.
  for (const int n : {32128, 32768, 32769, 70001}) {
    set_case("n %d", n);
    check_one(Rows::random(1, 20.0f, 2, n), 20.0f);
  }
}

// Equal ones in one thread, two threads, two warps and two batches: the first counts.
void check_ties() {
  for (const int n : {70, 40000}) {
    for (const int first : {0, 2, 37, 69}) {
      for (const int second : {first + 1, 66, n - 1}) {
        if (second >= n || second <= first) continue;
        set_case("ties at %d and %d of %d", first, second, n);
        const Rows x = Rows::random(1, 1.0f, 1, n);
        x.at(0, first) = x.at(0, second) = 2.0f;
        CHECK(run(x, nullptr).top[0] == first);
      }
    }
  }
  set_case("all are equal");
  const Rows x(1, 1000);
  x.fill(-5.0f);
  const Result result = run(x, nullptr);
  CHECK(result.top[0] == 0);
  CHECK(std::fabs(static_cast<double>(result.log_prob.at(0, 0)) + std::log(1000.0)) < 1e-5);
}

// A probability near one keeps its digits, whatever the size of the logits.
void check_near_one() {
  set_case("near one");
  const Rows x(1, 5);
  x.fill(1000.0f - 12.0f);
  x.at(0, 3) = 1000.0f;
  const double want = -std::log1p(4.0 * std::exp(-12.0));
  CHECK(std::fabs(static_cast<double>(run(x, nullptr).log_prob.at(0, 0)) - want) < 2 * kEps);
}

void check_not_finite() {
  for (const int at : {0, 5, 1028, 40000}) {
    for (const float value : {kNan, kInf, -kInf}) {
      set_case("%g at %d", static_cast<double>(value), at);
      const Rows x = Rows::random(1, 1.0f, 3, 40001);
      x.at(1, at) = value;
      const Result result = run(x, nullptr);
      CHECK(result.log_prob.row_is_finite(0) && result.log_prob.row_is_finite(2));
      CHECK(value == -kInf ? result.log_prob.row_is_finite(1) : result.log_prob.row_is_nan(1));
      CHECK(result.top[1] == (value == kInf ? at : std::isnan(value) ? 0 : first_largest(x, 1)));
    }
  }
  set_case("all -infinity");
  const Rows x(1, 300);
  x.fill(-kInf);
  const Result result = run(x, nullptr);
  CHECK(result.top[0] == 0 && result.log_prob.row_is_nan(0));
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_sizes();
  check_ties();
  check_near_one();
  check_not_finite();
  Stream stream;
  log_sum_exp(stream, {});
  return finish("log_sum_exp_cuda");
}
