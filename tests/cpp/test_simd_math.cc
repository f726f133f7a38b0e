// exp and GELU of the portable variant within the bounds that simd/math.h states. The other
// variants' are seen through `gelu` and the attentions: their headers need flags of their own.
#include <algorithm>
#include <cstring>

#include "core/simd/math.h"
#include "core/simd/scalar.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

// Bit patterns a prime apart, of both signs and all exponents.
template <typename Function>
void for_floats(Function function) {
  for (std::uint64_t pattern = 0; pattern < (1ull << 32); pattern += 16381) {
    const auto bits = static_cast<std::uint32_t>(pattern);
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    if (std::isfinite(value)) function(value);
  }
}

void check_exp(float x) {
  const double got = exp_of<scalar::V>(x), want = std::exp(static_cast<double>(x));
  if (want > static_cast<double>(std::numeric_limits<float>::max())) {
    CHECK(got > 3.40e38);
  } else if (want >= kTiny) {
    CHECK(std::fabs(got - want) <= want * 0x1p-22);
  } else {
    CHECK(got >= 0.0 && got <= 2.0 * kTiny);
  }
}

void check_exp_everywhere() {
  set_case("exp");
  for_floats(check_exp);
  // Where the argument is reduced to both signs, and the ends of the range.
  for (int i = -88 * 64; i <= 89 * 64; ++i) check_exp(static_cast<float>(i) / 64.0f);
  for (const float x : {-87.33654f, -87.33655f, -87.3f, 88.72283f, 88.72284f}) check_exp(x);
  CHECK(exp_of<scalar::V>(0.0f) == 1.0f);
  CHECK(exp_of<scalar::V>(-kInf) == 0.0f);
  CHECK(std::isnan(exp_of<scalar::V>(kNan)));
}

void check_gelu_everywhere() {
  set_case("gelu");
  const double root = std::sqrt(2.0 / std::acos(-1.0));
  const auto check_gelu = [root](float value) {
    const double x = value, bound = 2e-7 * std::max(1.0, std::fabs(x));
    CHECK(std::fabs(gelu_of<scalar::V>(value) - 0.5 * x * std::erfc(-x / std::sqrt(2.0))) < bound);
    const double tanh_form = x / (1.0 + std::exp(-2.0 * root * (x + 0.044715 * x * x * x)));
    CHECK(std::fabs(gelu_tanh_of<scalar::V>(value) - tanh_form) < bound);
  };
  for_floats(check_gelu);
  for (int i = -8 * 4096; i <= 8 * 4096; ++i) check_gelu(static_cast<float>(i) / 4096.0f);
  for (const auto gelu : {gelu_of<scalar::V>, gelu_tanh_of<scalar::V>}) {
    CHECK(gelu(0.0f) == 0.0f && gelu(kInf) == kInf && std::fabs(gelu(-kInf)) < 2e-8f);
    CHECK(std::isnan(gelu(kNan)));
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  tokenfuse::test::check_exp_everywhere();
  tokenfuse::test::check_gelu_everywhere();
  return tokenfuse::test::finish("simd_math");
}
