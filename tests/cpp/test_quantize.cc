// quantize: every variant gives the bytes that the contract's float32 steps define.
#include <algorithm>
#include <vector>

#include "kernels/quantize/quantize.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

constexpr std::int8_t kUntouched = 99;

struct Quantized {
  std::vector<std::int8_t> q;
  std::vector<float> scale;
  std::vector<std::int32_t> sum;
};

Quantized run(Isa isa, const Rows& x, std::int64_t ldq) {
  const auto m = static_cast<std::size_t>(x.num_rows());
  Quantized result{std::vector<std::int8_t>(m * static_cast<std::size_t>(ldq), kUntouched),
                   std::vector<float>(m), std::vector<std::int32_t>(m)};
  quantize_kernel(isa)(x.data(), x.stride(), result.q.data(), ldq, result.scale.data(),
                       result.sum.data(), x.num_rows(), x.width());
  return result;
}

void check_row(const Rows& x, const Quantized& got, std::int64_t i, std::int64_t ldq) {
  float max = 0.0f;
  for (std::int64_t j = 0; j < x.width(); ++j) max = std::max(max, std::fabs(x.at(i, j)));
  const float inverse = max < 1e-30f ? 0.0f : 127.0f / max;
  std::int32_t sum = 0;
  bool same = true;
  for (std::int64_t j = 0; j < ldq; ++j) {
    const float value = j < x.width() ? std::nearbyintf(x.at(i, j) * inverse) : 0.0f;
    same &= got.q[static_cast<std::size_t>(i * ldq + j)] == static_cast<std::int8_t>(value);
    sum += static_cast<std::int32_t>(value);
  }
  CHECK(same);
  CHECK(got.sum[static_cast<std::size_t>(i)] == sum);
  CHECK(got.scale[static_cast<std::size_t>(i)] == (inverse == 0.0f ? 0.0f : max / 127.0f));
}

void check_sizes(Isa isa) {
  for (const std::int64_t m : {0, 1, 3}) {
    for (const std::int64_t k : {0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 97}) {
      for (const Layout& layout : kLayouts) {
        for (const std::int64_t behind : {0, 3}) {
          set_case("%s, m %d, k %d, gap %d, %d behind", isa_name(isa), static_cast<int>(m),
                   static_cast<int>(k), static_cast<int>(layout.gap), static_cast<int>(behind));
          const Rows x = Rows::random(1, 3.0f, m, k, layout.gap, layout.offset);
          const Quantized got = run(isa, x, k + behind);
          for (std::int64_t i = 0; i < m; ++i) check_row(x, got, i, k + behind);
        }
      }
    }
  }
}

void check_magnitudes(Isa isa) {
  for (const float scale : {1e38f, 1e-20f, 1e-29f, 1e-31f, 1e-40f, 0.0f}) {
    set_case("%s, scale %g", isa_name(isa), static_cast<double>(scale));
    const Rows x = Rows::random(1, scale, 2, 37);
    const Quantized got = run(isa, x, 40);
    for (std::int64_t i = 0; i < 2; ++i) check_row(x, got, i, 40);
  }
}

void check_ties(Isa isa) {
  set_case("%s, ties", isa_name(isa));
  const Rows x(1, 18);
  for (std::int64_t j = 0; j < 17; ++j) x.at(0, j) = static_cast<float>(j) - 8.5f;
  x.at(0, 17) = 127.0f;
  check_row(x, run(isa, x, 20), 0, 20);
}

void check_nan_and_infinity(Isa isa) {
  for (const float value : {kNan, kInf, -kInf}) {
    // In a whole vector, and behind the last one.
    for (const std::int64_t at : {std::int64_t{3}, std::int64_t{36}}) {
      set_case("%s, %g at %d", isa_name(isa), static_cast<double>(value), static_cast<int>(at));
      const Rows x = Rows::random(1, 1.0f, 3, 37);
      x.at(1, at) = value;
      const Quantized got = run(isa, x, 40);
      CHECK(std::isnan(got.scale[1]));
      check_row(x, got, 0, 40);
      check_row(x, got, 2, 40);
    }
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_magnitudes(isa);
    check_ties(isa);
    check_nan_and_infinity(isa);
  }
  return finish("quantize");
}
