// linear_int8: every variant against exact sums of the same bytes, split and unsplit.
#include <algorithm>
#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/linear_int8/linear_int8.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

struct Problem {
  std::int64_t m, n, k;
  bool bias = true;
  bool residual = false;
  Layout layout = {0, 0};
};

// Inputs, quantised weights and arguments of one product. Every block is exactly as large as the
// contract says.
struct Product {
  Rows x, b, r, y;
  std::vector<std::int8_t> w;
  std::vector<float> weight_scale;
  std::unique_ptr<std::uint8_t[]> packed;
  std::unique_ptr<std::int8_t[]> q;
  std::vector<float> scale;
  std::vector<std::int32_t> sum;
  QuantizedRows rows{};
  LinearInt8Args args{};

  Product(const LinearInt8Kernel& kernel, const Problem& p)
      : x(Rows::random(1, 1.0f, p.m, p.k, p.layout.gap, p.layout.offset)),
        b(Rows::random(3, 1.0f, 1, p.n, 0, p.layout.offset)),
        r(Rows::random(4, 1.0f, p.m, p.n, p.layout.gap, p.layout.offset)),
        y(p.m, p.n, p.layout.gap, p.layout.offset),
        w(static_cast<std::size_t>(p.n * p.k)),
        scale(static_cast<std::size_t>(p.m)),
        sum(static_cast<std::size_t>(p.m)) {
    const Rows weights = Rows::random(2, 0.3f, p.n, p.k, p.layout.gap, p.layout.offset);
    const std::int64_t padded = linear_int8_num_panels(kernel, p.n) * kernel.panel_width;
    weight_scale.assign(static_cast<std::size_t>(padded), 0.0f);
    quantize_weights(quantize_kernel(Isa::kScalar), weights.data(), weights.stride(), p.n, p.k,
                     w.data(), weight_scale.data());
    packed.reset(new std::uint8_t[linear_int8_packed_bytes(kernel, p.n, p.k)]);
    linear_int8_pack(kernel, w.data(), p.n, p.k, packed.get());
    rows.ldq = int8_padded(p.k);
    q.reset(new std::int8_t[static_cast<std::size_t>(p.m * rows.ldq)]);
    rows.q = q.get();
    rows.scale = scale.data();
    rows.sum = sum.data();
    args.packed = packed.get();
    args.weight_scale = weight_scale.data();
    args.bias = p.bias ? b.data() : nullptr;
    args.residual = p.residual ? r.data() : nullptr;
    args.ldr = r.stride();
    args.y = y.data();
    args.ldy = y.stride();
    args.m = p.m;
    args.n = p.n;
    args.k = p.k;
    args.activation = Activation::kNone;
  }

  void run(Isa isa, int num_threads) {
    ThreadPool pool(num_threads);
    linear_int8(linear_int8_kernel(isa), quantize_kernel(isa), x.data(), x.stride(), rows, args,
                pool);
  }

  // The sum is exact; the two scales, bias and residual round, each to half an eps of what is
  // there so far.
  Expected expected(std::int64_t i, std::int64_t j) const {
    std::int64_t total = 0;
    for (std::int64_t t = 0; t < args.k; ++t) {
      total += std::int64_t{q[static_cast<std::size_t>(i * rows.ldq + t)]} *
               w[static_cast<std::size_t>(j * args.k + t)];
    }
    const double product = static_cast<double>(total) *
                           static_cast<double>(scale[static_cast<std::size_t>(i)]) *
                           static_cast<double>(weight_scale[static_cast<std::size_t>(j)]);
    const double bias = args.bias == nullptr ? 0.0 : b.at(0, j);
    const double residual = args.residual == nullptr ? 0.0 : r.at(i, j);
    const double magnitude = std::fabs(product) + std::fabs(bias) + std::fabs(residual);
    return {product + bias + residual, 4.0 * kEps * std::max(magnitude, kTiny)};
  }
};

void check_sizes(Isa isa) {
  // Around lanes of 8 and 16, tiles of 4 to 12 rows, panels of 8 to 64 outputs, groups of 4.
  for (const std::int64_t m : {0, 1, 2, 4, 5, 6, 7, 12, 13}) {
    for (const std::int64_t n : {0, 1, 8, 9, 15, 17, 31, 33, 63, 64, 65}) {
      for (const std::int64_t k : {0, 1, 3, 4, 5, 16, 17, 33}) {
        for (const Layout& layout : kLayouts) {
          set_case("%s, m %d, n %d, k %d, gap %d", isa_name(isa), static_cast<int>(m),
                   static_cast<int>(n), static_cast<int>(k), static_cast<int>(layout.gap));
          Problem p{m, n, k};
          p.layout = layout;
          p.residual = k % 2 == 1;
          Product product(linear_int8_kernel(isa), p);
          product.run(isa, 1);
          check_rows("y", product.y,
                     [&](std::int64_t i, std::int64_t j) { return product.expected(i, j); });
        }
      }
    }
  }
}

// All bytes at their largest: sums of 2^30 and more, where 16 bits would have saturated.
void check_extremes(Isa isa) {
  for (const int sign : {1, -1}) {
    set_case("%s, sign %d", isa_name(isa), sign);
    const Problem p{7, 65, kInt8MaxK};
    Product product(linear_int8_kernel(isa), p);
    product.args.bias = nullptr;
    product.x.fill(static_cast<float>(sign));
    std::fill(product.w.begin(), product.w.end(), std::int8_t{127});
    linear_int8_pack(linear_int8_kernel(isa), product.w.data(), p.n, p.k, product.packed.get());
    product.run(isa, 1);
    check_rows("y", product.y,
               [&](std::int64_t i, std::int64_t j) { return product.expected(i, j); });
  }
}

void check_threads(Isa isa) {
  // Split by rows, by panels, and not at all.
  for (const Problem& p : {Problem{196, 100, 64}, Problem{9, 600, 160}, Problem{3, 9, 5}}) {
    Product one(linear_int8_kernel(isa), p);
    one.run(isa, 1);
    for (const int num_threads : {2, 3, 8}) {
      set_case("%s, m %d, n %d, %d threads", isa_name(isa), static_cast<int>(p.m),
               static_cast<int>(p.n), num_threads);
      Product many(linear_int8_kernel(isa), p);
      many.run(isa, num_threads);
      CHECK(many.y.same_bits(one.y));
    }
  }
}

void check_nan(Isa isa) {
  set_case("%s, NaN", isa_name(isa));
  Product product(linear_int8_kernel(isa), {13, 65, 20});
  product.x.at(4, 3) = kNan;
  product.x.at(12, 19) = kInf;
  product.run(isa, 1);
  for (std::int64_t i = 0; i < 13; ++i) {
    CHECK(i == 4 || i == 12 ? product.y.row_is_nan(i) : product.y.row_is_finite(i));
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_extremes(isa);
    check_threads(isa);
    check_nan(isa);
  }
  return finish("linear_int8");
}
