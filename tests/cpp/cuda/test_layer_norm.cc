// norm on a GPU: layer_norm and rms_norm against double precision, in float32 and in 16 bits.
#include <algorithm>

#include "device_rows.h"
#include "kernels/layer_norm/cuda.h"
#include "schedules.h"

using namespace tokenfuse::cuda;

namespace tokenfuse::test {
namespace {

struct Problem {
  int m, n;
  bool layer;
  Layout layout = {0, 0};
  float scale = 1.0f, shift = 0.0f;
};

template <typename T>
struct Norm {
  Problem p;
  Rows x, weight, bias, y32;
  HalfRows<T> y16;
  NormArgs args{};

  explicit Norm(const Problem& problem)
      : p(problem),
        x(Rows::random(1, p.scale, p.m, p.n, p.layout.gap, p.layout.offset)),
        weight(Rows::random(2, 2.0f, 1, p.n, 0, p.layout.offset)),
        bias(Rows::random(3, 1.0f, 1, p.n)),
        y32(p.m, p.n, p.layout.gap, p.layout.offset),
        y16(p.m, p.n, p.n, p.n + p.layout.gap, p.layout.offset) {
    for (int i = 0; i < p.m; ++i) {
      for (int j = 0; j < p.n; ++j) x.at(i, j) += p.shift;
    }
    args.type = Rounding<T>::kType;
    args.x = x.data();
    args.ldx = x.stride();
    args.weight = weight.data();
    args.bias = p.layer ? bias.data() : nullptr;
    args.eps = 1e-5f;
    args.y32 = y32.data();
    args.ldy32 = y32.stride();
    args.y16 = y16.data();
    args.ldy16 = y16.stride();
    args.m = p.m;
    args.n = p.n;
  }

  void run() {
    Stream stream;
    norm(stream, args);
  }

  // The mean is off by (n + 4) eps mean abs(x), which the deviation divides; the deviation itself,
  // the products and the bias by (n + 8) eps of them.
  Expected expected(std::int64_t i, std::int64_t j) const {
    double mean = 0.0, size = 0.0, square = 0.0;
    for (int t = 0; t < p.n; ++t) {
      if (p.layer) mean += static_cast<double>(x.at(i, t)) / p.n;
      size += std::fabs(static_cast<double>(x.at(i, t))) / p.n;
    }
    for (int t = 0; t < p.n; ++t) square += std::pow(x.at(i, t) - mean, 2.0) / p.n;
    const double scale =
        static_cast<double>(weight.at(0, j)) / std::sqrt(square + static_cast<double>(args.eps));
    const double centred = (x.at(i, j) - mean) * scale;
    const double value = centred + (p.layer ? static_cast<double>(bias.at(0, j)) : 0.0);
    const double of_mean = p.layer ? (p.n + 4) * size * std::fabs(scale) : 0.0;
    return {value, kEps * (of_mean + (p.n + 8) * (std::fabs(centred) + std::fabs(value))) + kTiny};
  }

  void check() const {
    check_rows("y32", y32, [this](std::int64_t i, std::int64_t j) { return expected(i, j); });
    bool rounded = true;
    for (int i = 0; i < p.m; ++i) {
      for (int j = 0; j < p.n; ++j) {
        rounded =
            rounded && y16.data()[i * y16.stride() + j].bits == from_float<T>(y32.at(i, j)).bits;
      }
    }
    CHECK(rounded);
    CHECK(y16.gaps_unset());
  }
};

template <typename T>
void check_problem(const Problem& p) {
  set_case("%s, layer %d, m %d, n %d, gap %d, scale %g",
           Rounding<T>::kType == Type::kHalf ? "f16" : "bf16", p.layer, p.m, p.n,
           static_cast<int>(p.layout.gap), static_cast<double>(p.scale));
  Norm<T> first(p);
  first.run();
  first.check();
  for (const emulator::Schedule& schedule : schedules()) {
    emulator::set_schedule(schedule);
    Norm<T> again(p);
    again.run();
    CHECK(again.y32.same_bits(first.y32));
  }
  emulator::set_schedule({});
  Norm<T> in_place(p);
  in_place.args.y32 = in_place.x.data();
  in_place.args.ldy32 = in_place.x.stride();
  in_place.args.y16 = nullptr;
  in_place.run();
  CHECK(in_place.x.same_bits(first.y32) && in_place.x.gaps_unset());
}

template <typename T>
void check_type() {
  for (const bool layer : {false, true}) {
    for (const int m : {1, 3, 4, 5}) {
      for (const int n : {1, 3, 4, 5, 31, 127, 128, 129, 192, 257, 768}) {
        for (const Layout& layout : {Layout{0, 0}, Layout{3, 1}, Layout{4, 0}, Layout{2, 2}}) {
          check_problem<T>({m, n, layer, layout});
        }
      }
    }
    for (const float scale : {1e15f, 1e-3f, 1e-20f})
      check_problem<T>({3, 65, layer, {3, 1}, scale});
    // Far from 0: the variance must be of the centred values.
    check_problem<T>({3, 130, layer, {0, 0}, 1.0f, 1000.0f});
    set_case("constant rows, NaN and infinity");
    Norm<T> norm({4, 70, layer});
    for (int j = 0; j < 70; ++j) norm.x.at(0, j) = 3.0f;
    norm.x.at(1, 69) = kNan;
    norm.x.at(2, 0) = kInf;
    norm.run();
    CHECK(norm.y32.row_is_finite(0) && norm.y32.row_is_finite(3));
    CHECK(norm.y32.row_is_nan(1));
    CHECK(std::isnan(norm.y32.at(2, 0)));
    if (layer) CHECK(norm.y32.at(0, 5) == norm.bias.at(0, 5));
    CHECK(std::isnan(norm.y16.at(1, 3)));
  }
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_type<Half>();
  check_type<Bf16>();
  Stream stream;
  norm(stream, {});
  return finish("layer_norm_cuda");
}
