// One linear on a GPU: its operands, and its result beside sums in double precision of the rounded
// inputs. check_problem runs it in every tile under every schedule, which must give the same bits.
#pragma once

#include <memory>
#include <set>

#include "device_rows.h"
#include "kernels/linear/cuda.h"
#include "kernels/linear/cuda_order.h"
#include "schedules.h"

namespace tokenfuse::test {

using cuda::DeviceInfo;
using cuda::NormKind;
using cuda::Stream;
using cuda::Type;

struct Problem {
  int m, n, k;
  bool floats = false;
  NormKind norm = NormKind::kNone;
  bool gated = false;
  Activation activation = Activation::kNone;
  bool bias = false, residual = false, repeats = false, original = false;
  bool y16 = false;
  int group = 0, y_group = 0, y_row = -1;  // y_row -1: null
  Layout layout = {0, 0};
  float scale = 1.0f;
};

inline DeviceInfo device_of(int num_multiprocessors, int shared_kilobytes = 163) {
  return {"any", 87, num_multiprocessors, std::size_t(shared_kilobytes) << 10,
          std::size_t{1} << 40};
}

inline std::int64_t up_to_8(std::int64_t k) { return (k + 7) / 8 * 8; }

inline double gelu(Activation activation, double x) {
  if (activation == Activation::kGelu) return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
  if (activation == Activation::kNone) return x;
  const double inner = std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(inner));
}

template <typename T>
struct Product {
  Problem p;
  int columns;            // of y
  std::int64_t num_rows;  // of y
  HalfRows<T> x16, w, y16;
  Rows x32, b, r, z, y32, norm_weight, norm_bias;
  int y_row;
  cuda::LinearArgs args{};

  explicit Product(const Problem& problem)
      : p(problem),
        columns(p.gated ? p.n / 2 : p.n),
        num_rows(row_of(p.m - 1) + 2),
        x16(p.m, p.k, up_to_8(p.k), up_to_8(p.k) + (p.layout.gap > 0 ? 16 : 0)),
        w(p.n, p.k, up_to_8(p.k) + 8, up_to_8(p.k) + 8),
        y16(num_rows, columns, columns, columns + p.layout.gap, p.layout.offset),
        x32(Rows::random(1, p.scale, p.m, p.k, p.layout.gap, p.layout.offset)),
        b(Rows::random(3, 2.0f, 1, p.n)),
        r(Rows::random(4, 2.0f, num_rows, columns, 2 * p.layout.gap, p.layout.offset)),
        z(Rows::random(5, 2.0f, num_rows, columns, p.layout.gap, 0)),
        y32(num_rows, columns, p.layout.gap, p.layout.offset),
        norm_weight(Rows::random(6, 1.0f, 1, p.k)),
        norm_bias(Rows::random(7, 1.0f, 1, p.k)),
        y_row(p.y_row < 0 ? 0 : p.y_row) {
    for (int i = 0; i < p.m; ++i) {
      // Behind K lies what is finite, and must not count.
      for (std::int64_t j = 0; j < up_to_8(p.k); ++j) x16.set(i, j, j < p.k ? x32.at(i, j) : 7.0f);
    }
    Random numbers(2);
    for (int i = 0; i < p.n; ++i) {
      for (std::int64_t j = 0; j < w.stride(); ++j) {
        w.set(i, j, j < p.k ? numbers.uniform(1.0f) : 0.0f);
      }
    }
    args.type = Rounding<T>::kType;
    if (p.floats) {
      args.x32 = x32.data();
      args.ldx = x32.stride();
    } else {
      args.x16 = x16.data();
      args.ldx = x16.stride();
    }
    args.norm = p.norm;
    args.norm_weight = norm_weight.data();
    args.norm_bias = norm_bias.data();
    args.norm_eps = 1e-5f;
    args.w = w.data();
    args.ldw = w.stride();
    args.bias = p.bias ? b.data() : nullptr;
    args.activation = p.activation;
    args.gated = p.gated;
    args.residual = p.residual ? r.data() : nullptr;
    args.ldr = r.stride();
    args.residual_repeats = p.repeats;
    args.original = p.original ? z.data() : nullptr;
    args.ldo = z.stride();
    args.scale = p.original ? 0.75f : 1.0f;
    args.original_scale = -0.375f;
    if (p.y16) {
      args.y16 = y16.data();
    } else {
      args.y32 = y32.data();
    }
    args.ldy = p.y16 ? y16.stride() : y32.stride();
    args.m = p.m;
    args.n = p.n;
    args.k = p.k;
    args.group = p.group;
    args.y_group = p.y_group;
    args.y_row = p.y_row < 0 ? nullptr : &y_row;
  }

  std::int64_t row_of(std::int64_t m) const {
    const int first = p.y_row < 0 ? 0 : p.y_row;
    return p.group == 0 ? m + first : m / p.group * p.y_group + m % p.group + first;
  }

  void clear() {
    y16.clear();
    y32 = Rows(num_rows, columns, p.layout.gap, p.layout.offset);
    if (!p.y16) args.y32 = y32.data();
  }
  void run(const DeviceInfo& device) {
    clear();
    Stream stream;
    cuda::linear(stream, device, args);
  }
  void run_tile(int place) {
    clear();
    Stream stream;
    cuda::linear_in_tile(stream, args, place);
  }

  // As floats, and what was not written as NaN.
  Rows result() const {
    if (!p.y16) return y32.copy();
    Rows rows(num_rows, columns);
    for (std::int64_t i = 0; i < num_rows; ++i) {
      for (int j = 0; j < columns; ++j) rows.at(i, j) = y16.at(i, j);
    }
    return rows;
  }

  // The normed x and its error: the rounding to T, that of the norm's sums and products.
  void input(int m, std::vector<double>& x, std::vector<double>& error) const {
    for (int j = 0; j < p.k; ++j) {
      x[j] = p.norm == NormKind::kNone ? x16.at(m, j) : x32.at(m, j);
      error[j] = 0.0;
    }
    if (p.norm == NormKind::kNone) return;
    double mean = 0.0, square = 0.0, size = 0.0;
    for (int j = 0; j < p.k; ++j) mean += x[j] / p.k;
    if (p.norm == NormKind::kRms) mean = 0.0;
    for (int j = 0; j < p.k; ++j) {
      square += (x[j] - mean) * (x[j] - mean) / p.k;
      size += std::fabs(x[j]) / p.k;
    }
    const double scale = 1.0 / std::sqrt(square + static_cast<double>(args.norm_eps));
    for (int j = 0; j < p.k; ++j) {
      const double weight = norm_weight.at(0, j);
      const double bias = p.norm == NormKind::kRms ? 0.0 : norm_bias.at(0, j);
      const double centred = (x[j] - mean) * scale * weight;
      x[j] = centred + bias;
      const double sums = (p.k + 8) * kEps * (std::fabs(centred) + size * scale);
      error[j] = Rounding<T>::kShare * std::fabs(x[j]) + Rounding<T>::kLeast + sums +
                 kEps * std::fabs(bias);
    }
  }

  // K products and the slices' sums in float32, in any order: (K + 8) eps of their magnitudes. GELU
  // has a slope below 1.13, and its own error is 6 eps of x. Residual and original add eps of what
  // they add, and y16 is rounded once.
  void check() const {
    const Rows got = result();
    std::set<std::int64_t> written;
    std::vector<double> x(p.k), x_error(p.k);
    double worst = 0.0;
    for (int m = 0; m < p.m; ++m) {
      input(m, x, x_error);
      const std::int64_t row = row_of(m);
      written.insert(row);
      const auto sum_of = [&](int n, double& error) {
        double sum = args.bias == nullptr ? 0.0 : b.at(0, n), magnitude = std::fabs(sum), off = 0.0;
        for (int j = 0; j < p.k; ++j) {
          const double weight = w.at(n, j);
          sum += x[j] * weight;
          magnitude += std::fabs(x[j] * weight);
          off += x_error[j] * std::fabs(weight);
        }
        error = off + (p.k + 8) * kEps * magnitude;
        return sum;
      };
      for (int j = 0; j < columns; ++j) {
        double error, value;
        const double sum = sum_of(p.gated ? 2 * j : j, error);
        value = gelu(p.activation, sum);
        if (p.activation != Activation::kNone) error = 1.13 * error + 6 * kEps * std::fabs(sum);
        if (p.gated) {
          double up_error;
          const double up = sum_of(2 * j + 1, up_error);
          error = error * (std::fabs(up) + up_error) + std::fabs(value) * up_error;
          value *= up;
        }
        error += kEps * std::fabs(value);
        if (p.residual) {
          const double add = r.at(!p.repeats ? row : p.group == 0 ? m : m % p.group, j);
          value += add;
          error += kEps * (std::fabs(value) + std::fabs(add));
        }
        value *= args.scale;
        error += kEps * std::fabs(value);
        if (p.original) {
          value += static_cast<double>(args.original_scale) * z.at(row, j);
          error += 2 * kEps * (std::fabs(value) + std::fabs(z.at(row, j)));
        }
        if (p.y16) {
          value = std::fmin(std::fmax(value, -Rounding<T>::kLargest), Rounding<T>::kLargest);
          error += Rounding<T>::kShare * (std::fabs(value) + error) + Rounding<T>::kLeast;
        }
        const double share = std::fabs(got.at(row, j) - value) / (error + kTiny);
        if (!(share <= worst)) worst = std::isnan(share) ? HUGE_VAL : share;
      }
    }
    if (worst > 1.0) std::fprintf(stderr, "[%s] %.3g times the bound\n", case_name, worst);
    CHECK(worst <= 1.0);
    CHECK(p.y16 ? y16.gaps_unset() : y32.gaps_unset());
    bool untouched = true;
    for (std::int64_t i = 0; i < num_rows; ++i) {
      if (written.count(i) == 0) untouched = untouched && got.row_is_nan(i);
    }
    CHECK(untouched);
  }
};

template <typename T>
void check_problem(const Problem& p) {
  set_case("%s m %d, n %d, k %d, norm %d, gap %d",
           Rounding<T>::kType == Type::kHalf ? "f16" : "bf16", p.m, p.n, p.k,
           p.floats ? static_cast<int>(p.norm) : -1, static_cast<int>(p.layout.gap));
  Product<T> product(p);
  std::unique_ptr<Rows> first;
  for (int place = 0; place < cuda::kNumLinearTiles; ++place) {
    if (!cuda::linear_tile_fits(place, p.m, p.n, p.floats)) continue;
    for (const cuda::emulator::Schedule& schedule : schedules()) {
      cuda::emulator::set_schedule(schedule);
      product.run_tile(place);
      if (first == nullptr) {
        product.check();
        first.reset(new Rows(product.result()));
      } else {
        CHECK(product.result().same_bits(*first));
        CHECK(p.y16 ? product.y16.gaps_unset() : product.y32.gaps_unset());
      }
    }
  }
  cuda::emulator::set_schedule({});
}

inline void check_both(const Problem& p) {
  check_problem<cuda::Half>(p);
  check_problem<cuda::Bf16>(p);
}

inline constexpr Layout kOdd{3, 1}, kEven{2, 0};

}  // namespace tokenfuse::test
