// conv2d: every variant of `linear` under it, against the sum of its definition.
#include <algorithm>

#include "core/thread_pool.h"
#include "kernels/conv2d/conv2d.h"
#include "rows.h"

namespace tokenfuse::test {
namespace {

struct Convolution {
  Conv2dShape s;
  Rows x, w, bias, packed, scratch, y;

  Convolution(const LinearKernel& kernel, const Conv2dShape& shape, int num_threads)
      : s(shape),
        x(Rows::random(1, 1.0f, 1, s.height * s.width * s.in_channels)),
        w(Rows::random(2, 1.0f, 1, s.out_channels * s.patch())),
        bias(Rows::random(3, 1.0f, 1, s.out_channels)),
        packed(1, static_cast<std::int64_t>(conv2d_packed_floats(kernel, s))),
        scratch(num_threads, static_cast<std::int64_t>(conv2d_scratch_floats(s))),
        y(s.out_height() * s.out_width(), s.out_channels) {
    const Rows temporary(1, s.out_channels * s.patch());
    conv2d_pack(kernel, s, w.data(), temporary.data(), packed.data());
  }

  void run(const LinearKernel& kernel, bool with_bias, ThreadPool& pool) const {
    conv2d(kernel, s, x.data(), packed.data(), with_bias ? bias.data() : nullptr, Activation::kNone,
           y.data(), scratch.data(), pool);
  }

  // (K + 2) eps of the magnitudes, as of any sum of K products and a bias.
  Expected expected(bool with_bias, std::int64_t pixel, std::int64_t out) const {
    double sum = with_bias ? bias.at(0, out) : 0.0;
    double magnitude = std::fabs(sum);
    for (std::int64_t i = 0; i < s.kernel; ++i) {
      for (std::int64_t j = 0; j < s.kernel; ++j) {
        const std::int64_t row = pixel / s.out_width() * s.stride + i - s.padding;
        const std::int64_t column = pixel % s.out_width() * s.stride + j - s.padding;
        if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
        for (std::int64_t c = 0; c < s.in_channels; ++c) {
          const double weight = w.at(0, ((out * s.in_channels + c) * s.kernel + i) * s.kernel + j);
          const double term = weight * x.at(0, (row * s.width + column) * s.in_channels + c);
          sum += term;
          magnitude += std::fabs(term);
        }
      }
    }
    return {sum, static_cast<double>(s.patch() + 2) * kEps * std::max(magnitude, kTiny)};
  }
};

void set_shape_case(Isa isa, const Conv2dShape& s, int num_threads) {
  set_case("%s, %d x %d x %d to %d, kernel %d, stride %d, padding %d, %d threads", isa_name(isa),
           static_cast<int>(s.height), static_cast<int>(s.width), static_cast<int>(s.in_channels),
           static_cast<int>(s.out_channels), static_cast<int>(s.kernel), static_cast<int>(s.stride),
           static_cast<int>(s.padding), num_threads);
}

void check_sizes(Isa isa) {
  const LinearKernel& kernel = linear_kernel(isa);
  ThreadPool pool(1);
  struct Window {
    std::int64_t kernel, stride, padding;
  };
  for (const Window window : {Window{1, 1, 0}, Window{3, 1, 1}, Window{3, 2, 1}, Window{2, 2, 0},
                              Window{4, 4, 0}, Window{5, 3, 4}}) {
    for (const std::int64_t height : {1, 4, 7}) {
      for (const std::int64_t width : {1, 4, 13}) {
        if (std::min(height, width) + 2 * window.padding < window.kernel) continue;
        for (const std::int64_t in : {1, 3, 8}) {
          for (const std::int64_t out : {1, 7, 8, 16, 17, 33}) {
            const Conv2dShape shape{height,        width,         in, out, window.kernel,
                                    window.stride, window.padding};
            set_shape_case(isa, shape, 1);
            const bool with_bias = out % 2 == 1;
            const Convolution convolution(kernel, shape, 1);
            convolution.run(kernel, with_bias, pool);
            check_rows("y", convolution.y, [&](std::int64_t pixel, std::int64_t channel) {
              return convolution.expected(with_bias, pixel, channel);
            });
          }
        }
      }
    }
  }
}

void check_threads(Isa isa) {
  const LinearKernel& kernel = linear_kernel(isa);
  const Conv2dShape shape{17, 19, 5, 21, 3, 2, 1};
  const Convolution one(kernel, shape, 1);
  ThreadPool single(1);
  one.run(kernel, true, single);
  for (const int num_threads : {2, 3, 11}) {
    set_shape_case(isa, shape, num_threads);
    const Convolution many(kernel, shape, num_threads);
    ThreadPool pool(num_threads);
    many.run(kernel, true, pool);
    CHECK(many.y.same_bits(one.y));
  }
}

void check_activation(Isa isa) {
  set_case("%s, activation", isa_name(isa));
  const LinearKernel& kernel = linear_kernel(isa);
  ThreadPool pool(1);
  const Convolution convolution(kernel, {6, 6, 3, 9, 3, 1, 1}, 1);
  conv2d(kernel, convolution.s, convolution.x.data(), convolution.packed.data(),
         convolution.bias.data(), Activation::kGelu, convolution.y.data(),
         convolution.scratch.data(), pool);
  check_rows("y", convolution.y, [&](std::int64_t pixel, std::int64_t channel) {
    const Expected sum = convolution.expected(true, pixel, channel);
    // GELU has a slope below 1.13 and is itself off by 4e-7 max(1, |x|).
    return Expected{0.5 * sum.value * std::erfc(-sum.value / std::sqrt(2.0)),
                    1.13 * sum.bound + 4e-7 * std::max(1.0, std::fabs(sum.value))};
  });
}

// A NaN reaches the outputs whose window holds it, and no other.
void check_nan(Isa isa) {
  set_case("%s, NaN", isa_name(isa));
  const LinearKernel& kernel = linear_kernel(isa);
  ThreadPool pool(1);
  const Convolution convolution(kernel, {8, 8, 3, 9, 3, 2, 1}, 1);
  convolution.x.at(0, (3 * 8 + 4) * 3 + 1) = kNan;  // row 3, column 4
  convolution.run(kernel, true, pool);
  for (std::int64_t pixel = 0; pixel < 16; ++pixel) {
    // Rows 2 h - 1 to 2 h + 1 hold row 3 for h of 1 and 2; columns hold 4 for 2 alone.
    const std::int64_t h = pixel / 4, w = pixel % 4;
    const bool holds = (h == 1 || h == 2) && w == 2;
    CHECK(holds ? convolution.y.row_is_nan(pixel) : convolution.y.row_is_finite(pixel));
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  for (const tokenfuse::Isa isa : runnable_isas()) {
    check_sizes(isa);
    check_threads(isa);
    check_activation(isa);
    check_nan(isa);
  }
  return finish("conv2d");
}
