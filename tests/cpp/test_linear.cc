// linear: every variant against sums in double precision, split and unsplit.
#include <algorithm>
#include <memory>

#include "core/thread_pool.h"
#include "kernels/linear/linear.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

enum class Residual { kNone, kOwn, kResult };

double activated(double x, Activation activation) {
  if (activation == Activation::kGelu) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  if (activation == Activation::kGeluTanh) {
    return x /
           (1.0 + std::exp(-2.0 * std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

struct Problem {
  std::int64_t m, n, k;
  bool bias = true;
  Residual residual = Residual::kNone;
  Activation activation = Activation::kNone;
  Layout layout = {0, 0};
  float scale = 1.0f;
};

// The inputs, the packed weights and the arguments of one product.
struct Product {
  Rows x, w, b, r, packed, y;
  LinearArgs args{};

  Product(const LinearKernel& kernel, const Problem& p)
      : x(Rows::random(1, p.scale, p.m, p.k, p.layout.gap, p.layout.offset)),
        w(Rows::random(2, p.scale, p.n, p.k, p.layout.gap, p.layout.offset)),
        b(Rows::random(3, p.scale * p.scale, 1, p.n, 0, p.layout.offset)),
        r(Rows::random(4, p.scale * p.scale, p.m, p.n, p.layout.gap, p.layout.offset)),
        packed(1, static_cast<std::int64_t>(linear_packed_floats(kernel, p.n, p.k))),
        y(p.residual == Residual::kResult ? r.copy()
                                          : Rows(p.m, p.n, p.layout.gap, p.layout.offset)) {
    linear_pack(kernel, w.data(), w.stride(), p.n, p.k, packed.data());
    args.x = x.data();
    args.ldx = x.stride();
    args.packed = packed.data();
    args.bias = p.bias ? b.data() : nullptr;
    if (p.residual != Residual::kNone) {
      args.residual = p.residual == Residual::kOwn ? r.data() : y.data();
      args.ldr = p.residual == Residual::kOwn ? r.stride() : y.stride();
    }
    args.y = y.data();
    args.ldy = y.stride();
    args.m = p.m;
    args.n = p.n;
    args.k = p.k;
    args.activation = p.activation;
  }

  // A sum of K products, a bias and a residual is off by (K + 2) eps sum |a_i b_i| whatever
  // the order; GELU has a slope below 1.13 and is itself off by 4e-7 max(1, |x|).
  Expected expected(const Problem& p, std::int64_t i, std::int64_t j) const {
    double sum = p.bias ? b.at(0, j) : 0.0;
    double magnitude = std::fabs(sum);
    for (std::int64_t t = 0; t < p.k; ++t) {
      const double term = static_cast<double>(x.at(i, t)) * w.at(j, t);
      sum += term;
      magnitude += std::fabs(term);
    }
    const double residual = p.residual == Residual::kNone ? 0.0 : r.at(i, j);
    magnitude = std::max(magnitude + std::fabs(residual), kTiny);
    double bound = static_cast<double>(p.k + 2) * kEps * magnitude;
    if (p.activation != Activation::kNone) {
      bound = 1.13 * bound + 4e-7 * std::max(1.0, std::fabs(sum));
    }
    return {activated(sum, p.activation) + residual, bound};
  }
};

void check_whole(const LinearKernel& kernel, const Problem& p) {
  Product product(kernel, p);
  kernel.run(product.args, 0, p.m, 0, linear_num_panels(kernel, p.n));
  check_rows("y", product.y,
             [&](std::int64_t i, std::int64_t j) { return product.expected(p, i, j); });
}

void check_sizes(Isa isa) {
  const LinearKernel& kernel = linear_kernel(isa);
  // Around lanes of 8 and 16, tiles of 4, 6 and 12 rows, panels of 8, 16 and 32 outputs.
  for (const std::int64_t m : {0, 1, 3, 4, 5, 6, 7, 11, 12, 13, 29}) {
    for (const std::int64_t n : {0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47}) {
      for (const std::int64_t k : {0, 1, 3, 4, 5, 17, 64}) {
        for (const Layout& layout : kLayouts) {
          set_case("%s, m %d, n %d, k %d, gap %d", isa_name(isa), static_cast<int>(m),
                   static_cast<int>(n), static_cast<int>(k), static_cast<int>(layout.gap));
          Problem p{m, n, k};
          p.layout = layout;
          check_whole(kernel, p);
        }
      }
    }
  }
}

void check_endings(Isa isa) {
  for (const Activation activation :
       {Activation::kNone, Activation::kGelu, Activation::kGeluTanh}) {
    for (const Residual residual : {Residual::kNone, Residual::kOwn, Residual::kResult}) {
      for (const bool bias : {false, true}) {
        for (const std::int64_t k : {0, 40}) {
          set_case("%s, activation %d, residual %d, bias %d, k %d", isa_name(isa),
                   static_cast<int>(activation), static_cast<int>(residual), bias,
                   static_cast<int>(k));
          check_whole(linear_kernel(isa), {13, 50, k, bias, residual, activation, kLayouts[1]});
        }
      }
    }
  }
}

// Products near the largest and below the least normal float.
void check_magnitudes(Isa isa) {
  for (const float scale : {1e18f, 1e-18f, 1e-22f}) {
    set_case("%s, scale %g", isa_name(isa), static_cast<double>(scale));
    Problem p{7, 33, 19};
    p.scale = scale;
    check_whole(linear_kernel(isa), p);
  }
}

void check_nan_and_infinity(Isa isa) {
  set_case("%s, NaN and infinity", isa_name(isa));
  const LinearKernel& kernel = linear_kernel(isa);
  const Problem p{29, 33, 20};
  Product product(kernel, p);
  product.x.at(4, 3) = kNan;
  product.x.at(17, 0) = kInf;
  product.x.at(28, 19) = -kInf;  // the last row, which is a tile of its own
  kernel.run(product.args, 0, p.m, 0, linear_num_panels(kernel, p.n));
  for (std::int64_t i = 0; i < p.m; ++i) {
    if (i == 4) {
      CHECK(product.y.row_is_nan(i));
    } else if (i == 17 || i == 28) {
      bool infinite = true;
      for (std::int64_t j = 0; j < p.n; ++j) infinite &= std::isinf(product.y.at(i, j)) != 0;
      CHECK(infinite);
    } else {
      CHECK(product.y.row_is_finite(i));
    }
  }
}

void check_packing(Isa isa) {
  set_case("%s, packing", isa_name(isa));
  const LinearKernel& kernel = linear_kernel(isa);
  const std::int64_t n = 37, k = 5, width = kernel.panel_width;
  const Rows w = Rows::random(5, 1.0f, n, k, 2, 1);
  const Rows packed(1, static_cast<std::int64_t>(linear_packed_floats(kernel, n, k)));
  linear_pack(kernel, w.data(), w.stride(), n, k, packed.data());
  bool ok = true;
  for (std::int64_t at = 0; at < packed.width(); ++at) {
    const std::int64_t row = at / (width * k) * width + at % width, column = at / width % k;
    ok &= packed.at(0, at) == (row < n ? w.at(row, column) : 0.0f);
  }
  CHECK(ok);
}

// One part of the result, and nothing besides.
void check_part(Isa isa) {
  set_case("%s, a part", isa_name(isa));
  const LinearKernel& kernel = linear_kernel(isa);
  const std::int64_t rows = kernel.tile_rows, width = kernel.panel_width;
  const Problem p{3 * rows + 1, 3 * width + 1, 23};
  Product whole(kernel, p), part(kernel, p);
  kernel.run(whole.args, 0, p.m, 0, linear_num_panels(kernel, p.n));
  kernel.run(part.args, rows, 2 * rows, 1, 2);
  bool inside = true;
  for (std::int64_t i = 0; i < p.m; ++i) {
    for (std::int64_t j = 0; j < p.n; ++j) {
      const bool in = i >= rows && i < 2 * rows && j >= width && j < 2 * width;
      if (in) inside &= part.y.at(i, j) == whole.y.at(i, j);
      if (!in) inside &= std::isnan(part.y.at(i, j));
    }
  }
  CHECK(inside);
}

void check_threads(Isa isa) {
  const LinearKernel& kernel = linear_kernel(isa);
  // Large enough to be split; few panels, so that rows are split as well; and empty ones.
  for (const Problem& p : {Problem{61, 300, 64}, Problem{301, 9, 64}, Problem{0, 9, 64},
                           Problem{9, 0, 64}, Problem{5, 9, 0}}) {
    Product one(kernel, p);
    ThreadPool single(1);
    linear(kernel, one.args, single);
    for (const int num_threads : {2, 3, 8}) {
      set_case("%s, m %d, n %d, %d threads", isa_name(isa), static_cast<int>(p.m),
               static_cast<int>(p.n), num_threads);
      ThreadPool pool(num_threads);
      Product many(kernel, p);
      linear(kernel, many.args, pool);
      CHECK(many.y.same_bits(one.y));
      check_rows("y", many.y,
                 [&](std::int64_t i, std::int64_t j) { return many.expected(p, i, j); });
    }
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_endings(isa);
    check_magnitudes(isa);
    check_nan_and_infinity(isa);
    check_packing(isa);
    check_part(isa);
    check_threads(isa);
  }
  return finish("linear");
}
