// linear_bf16: rounding and packing, and every variant against sums in double precision of what
// was rounded, split and unsplit, with few rows and with widened panels.
#include <algorithm>
#include <memory>

#include "core/thread_pool.h"
#include "kernels/linear_bf16/linear_bf16.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

// The nearest bfloat16 by its definition: 8 significant bits, in steps of 2^-133 at least.
double rounded(double value) {
  if (!std::isfinite(value) || value == 0.0) return value;
  const double step = std::ldexp(1.0, std::max(std::ilogb(value) - 7, -133));
  const double near = std::nearbyint(value / step) * step;
  return std::fabs(near) >= std::ldexp(1.0, 128) ? std::copysign(HUGE_VAL, value) : near;
}

float widened(std::uint16_t half) {
  const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

void check_rounding() {
  set_case("rounding");
  for (std::uint64_t upper = 0; upper < (1u << 16); ++upper) {
    for (const std::uint32_t lower : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const auto bits = static_cast<std::uint32_t>(upper << 16) | lower;
      float value;
      std::memcpy(&value, &bits, sizeof(value));
      const float got = widened(float_to_bf16(value));
      if (std::isnan(value)) {
        CHECK(std::isnan(got) && std::signbit(got) == std::signbit(value));
      } else {
        CHECK(got == rounded(value) && std::signbit(got) == std::signbit(value));
      }
    }
  }
}

struct Problem {
  std::int64_t m, n, k;
  Layout layout = {0, 0};
  bool residual = false;
  float scale = 1.0f;
};

struct Product {
  Rows x, w, b, r, y;
  std::unique_ptr<std::uint16_t[]> packed;
  LinearBf16Args args{};
  Isa isa;

  Product(Isa with, const Problem& p)
      : x(Rows::random(1, p.scale, p.m, p.k, p.layout.gap, p.layout.offset)),
        w(Rows::random(2, p.scale, p.n, p.k, p.layout.gap, p.layout.offset)),
        b(Rows::random(3, p.scale * p.scale, 1, p.n, 0, p.layout.offset)),
        r(Rows::random(4, p.scale * p.scale, p.m, p.n, p.layout.gap, p.layout.offset)),
        y(p.m, p.n, p.layout.gap, p.layout.offset),
        packed(new std::uint16_t[linear_bf16_packed_count(linear_bf16_kernel(with), p.n, p.k)]),
        isa(with) {
    linear_bf16_pack(linear_bf16_kernel(isa), w.data(), w.stride(), p.n, p.k, packed.get());
    args.x = x.data();
    args.ldx = x.stride();
    args.packed = packed.get();
    args.bias = b.data();
    args.residual = p.residual ? r.data() : nullptr;
    args.ldr = r.stride();
    args.y = y.data();
    args.ldy = y.stride();
    args.m = p.m;
    args.n = p.n;
    args.k = p.k;
    args.activation = Activation::kNone;
  }

  void run(int num_threads) {
    const LinearBf16Kernel& kernel = linear_bf16_kernel(isa);
    const std::size_t bytes = linear_bf16_scratch_bytes(kernel, args.m, args.k, num_threads);
    const std::unique_ptr<unsigned char[]> scratch(new unsigned char[bytes + 64]);
    const auto address = reinterpret_cast<std::uintptr_t>(scratch.get());
    ThreadPool pool(num_threads);
    linear_bf16(kernel, args, scratch.get() + (64 - address % 64) % 64, pool);
  }

  // Products of bfloat16 with float32, rounded or not, and their sum are off by
  // (K + 2) eps sum |a_i b_i|, and by the least normal float each where those below it are 0.
  Expected expected(std::int64_t i, std::int64_t j) const {
    const bool rounds = linear_bf16_kernel(isa).round != nullptr;
    double sum = b.at(0, j), magnitude = std::fabs(sum);
    for (std::int64_t t = 0; t < args.k; ++t) {
      const double term = (rounds ? rounded(x.at(i, t)) : x.at(i, t)) * rounded(w.at(j, t));
      sum += term;
      magnitude += std::fabs(term);
    }
    const double residual = args.residual == nullptr ? 0.0 : r.at(i, j);
    magnitude = std::max(magnitude + std::fabs(residual), kTiny);
    const auto terms = static_cast<double>(args.k);
    return {sum + residual, (terms + 2) * kEps * magnitude + (rounds ? terms * kTiny : 0.0)};
  }

  void check() const {
    check_rows("y", y, [this](std::int64_t i, std::int64_t j) { return expected(i, j); });
  }
};

void check_sizes(Isa isa) {
  // Around lanes of 8 and 16, tiles of 4 to 9 rows and three of them, panels of 8 to 48 outputs.
  for (const std::int64_t m : {0, 1, 2, 4, 6, 9, 10, 12, 13, 18, 19, 27, 28, 31}) {
    for (const std::int64_t n : {0, 1, 8, 9, 15, 17, 32, 33, 48, 49}) {
      for (const std::int64_t k : {0, 1, 2, 3, 8, 9, 33}) {
        for (const Layout& layout : kLayouts) {
          set_case("%s, m %d, n %d, k %d, gap %d", isa_name(isa), static_cast<int>(m),
                   static_cast<int>(n), static_cast<int>(k), static_cast<int>(layout.gap));
          Product product(isa, {m, n, k, layout, k % 2 == 1});
          product.run(1);
          product.check();
        }
      }
    }
  }
}

// Products near the largest and below the least normal float.
void check_magnitudes(Isa isa) {
  for (const std::int64_t m : {7, 40}) {
    for (const float scale : {1e18f, 1e-18f, 1e-22f}) {
      set_case("%s, m %d, scale %g", isa_name(isa), static_cast<int>(m),
               static_cast<double>(scale));
      Product product(isa, {m, 33, 19, kLayouts[1], false, scale});
      product.run(1);
      product.check();
    }
  }
}

void check_threads(Isa isa) {
  // With few rows and with widened panels, split by panels and by rows, and not at all.
  for (const Problem& p : {Problem{196, 300, 65}, Problem{19, 600, 161}, Problem{1, 700, 130},
                           Problem{901, 9, 64}, Problem{3, 9, 5}}) {
    Product one(isa, p);
    one.run(1);
    one.check();
    for (const int num_threads : {2, 3, 8}) {
      set_case("%s, m %d, n %d, %d threads", isa_name(isa), static_cast<int>(p.m),
               static_cast<int>(p.n), num_threads);
      Product many(isa, p);
      many.run(num_threads);
      CHECK(many.y.same_bits(one.y));
    }
  }
}

void check_packing(Isa isa) {
  set_case("%s, packing", isa_name(isa));
  const LinearBf16Kernel& kernel = linear_bf16_kernel(isa);
  const std::int64_t n = kernel.panel_width + 5, k = 7, padded = 8, width = kernel.panel_width;
  const Rows w = Rows::random(5, 1.0f, n, k, 2, 1);
  std::vector<std::uint16_t> packed(linear_bf16_packed_count(kernel, n, k));
  CHECK(packed.size() == static_cast<std::size_t>(2 * width * padded));
  linear_bf16_pack(kernel, w.data(), w.stride(), n, k, packed.data());
  bool ok = true;
  for (std::int64_t at = 0; at < 2 * width * padded; ++at) {
    const std::int64_t row = at / (width * padded) * width + at / 2 % width;
    const std::int64_t column = at / (2 * width) % (padded / 2) * 2 + at % 2;
    const double want = row < n && column < k ? rounded(w.at(row, column)) : 0.0;
    ok &= widened(packed[static_cast<std::size_t>(at)]) == want;
  }
  CHECK(ok);
}

void check_nan_and_infinity(Isa isa) {
  for (const std::int64_t m : {9, 40}) {
    set_case("%s, m %d, NaN and infinity", isa_name(isa), static_cast<int>(m));
    Product product(isa, {m, 33, 20});
    product.x.at(4, 3) = kNan;
    product.x.at(6, 19) = kInf;
    product.run(1);
    for (std::int64_t i = 0; i < m; ++i) {
      if (i == 6) {
        CHECK(std::isinf(product.y.at(i, 0)) && std::isinf(product.y.at(i, 32)));
      } else {
        CHECK(i == 4 ? product.y.row_is_nan(i) : product.y.row_is_finite(i));
      }
    }
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_rounding();
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_magnitudes(isa);
    check_threads(isa);
    check_packing(isa);
    check_nan_and_infinity(isa);
  }
  return finish("linear_bf16");
}
