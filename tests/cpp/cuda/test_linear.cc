// linear on a GPU: every tile under every schedule gives the same bits, and those lie near sums in
// double precision of the rounded inputs.
#include <memory>
#include <set>

#include "device_rows.h"
#include "kernels/layer_norm/cuda.h"
#include "kernels/linear/cuda.h"
#include "kernels/linear/cuda_order.h"

using tokenfuse::Activation;
using namespace tokenfuse::cuda;

namespace tokenfuse::test {
namespace {

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

DeviceInfo device_of(int num_multiprocessors, int shared_kilobytes = 163) {
  return {"any", 87, num_multiprocessors, std::size_t(shared_kilobytes) << 10,
          std::size_t{1} << 40};
}

std::int64_t up_to_8(std::int64_t k) { return (k + 7) / 8 * 8; }

double gelu(Activation activation, double x) {
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

  void run(const DeviceInfo& device) {
    y16.clear();
    y32 = Rows(num_rows, columns, p.layout.gap, p.layout.offset);
    if (!p.y16) args.y32 = y32.data();
    Stream stream;
    cuda::linear(stream, device, args);
    stream.wait();
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

// One device per tile that some device chooses for the problem.
std::vector<DeviceInfo> devices_for(const Problem& p) {
  std::vector<DeviceInfo> devices;
  std::set<int> tiles;
  for (int i = 0; i < kNumLinearTiles; ++i) {
    const std::int64_t blocks = linear_blocks(kLinearTiles[i], p.m, p.n);
    const DeviceInfo device = device_of(static_cast<int>(blocks > 1 ? blocks / 2 : 1));
    if (tiles.insert(choose_linear_tile(device, p.m, p.n, p.floats)).second) {
      devices.push_back(device);
    }
  }
  if (tiles.insert(choose_linear_tile(device_of(1 << 20), p.m, p.n, p.floats)).second) {
    devices.push_back(device_of(1 << 20));
  }
  return devices;
}

template <typename T>
void check_problem(const Problem& p) {
  set_case("%s m %d, n %d, k %d, norm %d, gap %d",
           Rounding<T>::kType == Type::kHalf ? "f16" : "bf16", p.m, p.n, p.k,
           p.floats ? static_cast<int>(p.norm) : -1, static_cast<int>(p.layout.gap));
  Product<T> product(p);
  std::unique_ptr<Rows> first;
  for (const DeviceInfo& device : devices_for(p)) {
    for (const emulator::Schedule& schedule : schedules()) {
      emulator::set_schedule(schedule);
      product.run(device);
      if (first == nullptr) {
        product.check();
        first.reset(new Rows(product.result()));
      } else {
        CHECK(product.result().same_bits(*first));
        CHECK(p.y16 ? product.y16.gaps_unset() : product.y32.gaps_unset());
      }
    }
  }
  emulator::set_schedule({});
}

void check_both(const Problem& p) {
  check_problem<Half>(p);
  check_problem<Bf16>(p);
}

const Layout kOdd{3, 1}, kEven{2, 0};

void check_sizes() {
  // Around matrices of 8 and 16, stages of 32, slices of 16 to 80, tiles of 16 to 128.
  const int ms[] = {1, 2, 15, 16, 17, 31, 33, 65, 7};
  const int ns[] = {1, 2, 7, 8, 9, 16, 17, 33, 65, 131};
  int at = 0;
  for (const int k : {1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 97, 128, 129, 193, 320}) {
    for (const bool floats : {false, true}) {
      for (int i = 0; i < 2; ++i, ++at) {
        Problem p{ms[at % 9], ns[at % 10], k};
        p.floats = floats;
        p.layout = at % 3 == 0 ? Layout{0, 0} : at % 3 == 1 ? kOdd : kEven;
        p.y16 = at % 4 > 1;
        p.bias = at % 5 > 2;
        check_both(p);
      }
    }
  }
}

void check_large_tile() {
  for (const int k : {1, 40, 64, 65, 200, 321}) {
    Problem p{129 + k % 7, 150, k};
    p.y16 = k % 2 == 1;
    p.residual = true;
    p.layout = k == 40 ? kOdd : kEven;
    check_both(p);
  }
}

void check_options() {
  Problem p{35, 34, 72};
  for (const bool floats : {false, true}) {
    for (const NormKind norm : {NormKind::kNone, NormKind::kLayer, NormKind::kRms}) {
      if (!floats && norm != NormKind::kNone) continue;
      for (const Activation act : {Activation::kNone, Activation::kGelu, Activation::kGeluTanh}) {
        for (const bool gated : {false, true}) {
          for (const bool y16 : {false, true}) {
            p.floats = floats;
            p.norm = norm;
            p.activation = act;
            p.gated = gated;
            p.bias = !gated;
            p.y16 = y16;
            p.residual = act == Activation::kNone;
            p.original = act != Activation::kGelu;
            p.layout = gated == y16 ? kOdd : Layout{0, 0};
            check_both(p);
          }
        }
      }
    }
  }
  // Normed rows of lengths around a lane's four and the warp's 128.
  for (const int k : {1, 3, 4, 5, 127, 128, 129, 257}) {
    Problem q{5, 19, k, true, k % 2 == 1 ? NormKind::kLayer : NormKind::kRms};
    q.layout = k % 4 == 1 ? kOdd : Layout{0, 0};
    check_both(q);
  }
}

void check_rows() {
  for (const bool repeats : {false, true}) {
    for (const int y_row : {-1, 0, 3}) {
      Problem p{26, 24, 40};
      p.residual = true;
      p.repeats = repeats;
      p.original = true;
      p.y_row = y_row;
      check_both(p);
      p.group = 5;
      p.y_group = 9;
      p.y16 = repeats;
      check_both(p);
    }
  }
}

// Sums near 65504, beyond it, and far below 1.
void check_magnitudes() {
  for (const float scale : {6e4f, 1e-4f, 1e-6f}) {
    Problem p{9, 40, 50};
    p.scale = scale;
    for (const bool y16 : {false, true}) {
      p.y16 = y16;
      check_both(p);
    }
  }
}

void check_model_shapes() {
  check_problem<Bf16>({1, 384, 384, true, NormKind::kLayer});
  check_problem<Half>({1, 192, 3072});
  check_problem<Bf16>({3, 4001, 128});
  Problem p{196, 192, 192};
  p.bias = true;
  check_problem<Half>(p);
  p.floats = true;
  p.norm = NormKind::kLayer;
  p.activation = Activation::kGelu;
  p.y16 = true;
  check_problem<Bf16>(p);
}

// A row does not depend on how many there are.
template <typename T>
void check_batches() {
  set_case("batches");
  Problem p{150, 130, 136};
  Product<T> all(p);
  all.run(device_of(1));
  const Rows many = all.result();
  bool same = true;
  for (const int m : {1, 17, 64, 149}) {
    Product<T> some(p);
    some.args.m = m;
    some.run(device_of(8));
    const Rows few = some.result();
    for (int i = 0; i < m; ++i) {
      same = same && std::memcmp(&few.at(i, 0), &many.at(i, 0), 130 * sizeof(float)) == 0;
    }
    CHECK(few.row_is_nan(m));
  }
  CHECK(same);
}

// The norm within the linear is `norm`, bit by bit.
template <typename T>
void check_same_norm() {
  for (const bool layer : {false, true}) {
    for (const int k : {72, 77, 300}) {
      set_case("norm within, layer %d, k %d", layer, k);
      Problem p{21, 40, k, true, layer ? NormKind::kLayer : NormKind::kRms};
      Product<T> fused(p);
      fused.run(device_of(8));
      p.floats = false;
      p.norm = NormKind::kNone;
      Product<T> apart(p);
      NormArgs args{};
      args.type = Rounding<T>::kType;
      args.x = fused.x32.data();
      args.ldx = fused.x32.stride();
      args.weight = fused.norm_weight.data();
      args.bias = layer ? fused.norm_bias.data() : nullptr;
      args.eps = fused.args.norm_eps;
      args.y16 = apart.x16.data();
      args.ldy16 = apart.x16.stride();
      args.m = p.m;
      args.n = k;
      Stream stream;
      norm(stream, args);
      apart.run(device_of(8));
      CHECK(apart.result().same_bits(fused.result()));
    }
  }
}

template <typename T>
void check_not_finite() {
  for (const bool floats : {false, true}) {
    set_case("NaN and infinity, floats %d", floats);
    Problem p{20, 33, 40};
    p.floats = floats;
    Product<T> product(p);
    const auto set = [&](int row, int column, float value) {
      product.x32.at(row, column) = value;
      const std::uint16_t inf = Rounding<T>::kType == Type::kHalf ? 0x7c00 : 0x7f80;
      product.x16.data()[row * product.x16.stride() + column].bits =
          std::isnan(value) ? 0x7fff : inf;
    };
    set(3, 39, kNan);
    if (!floats) set(17, 0, kInf);
    product.w.data()[5 * product.w.stride() + 2].bits = 0x7fff;
    product.run(device_of(8));
    const Rows got = product.result();
    for (int i = 0; i < p.m; ++i) {
      CHECK(std::isnan(got.at(i, 5)));
      if (i == 3) {
        CHECK(got.row_is_nan(i));
      } else if (i == 17 && !floats) {
        CHECK(std::isinf(got.at(i, 0)) && std::isinf(got.at(i, 32)));
      } else {
        CHECK(std::isfinite(got.at(i, 4)) && std::isfinite(got.at(i, 6)));
      }
    }
  }
}

void check_residual_is_y() {
  set_case("the residual is y");
  Problem p{18, 20, 24};
  p.residual = true;
  Product<Half> apart(p);
  apart.run(device_of(8));
  Product<Half> same(p);
  same.args.y32 = same.r.data();
  same.args.ldy = same.r.stride();
  Stream stream;
  cuda::linear(stream, device_of(8), same.args);
  bool equal = true;
  for (int i = 0; i < p.m; ++i) {
    equal = equal && std::memcmp(&same.r.at(i, 0), &apart.y32.at(i, 0), 20 * sizeof(float)) == 0;
  }
  CHECK(equal);
}

void check_choice() {
  for (const int kilobytes : {99, 163, 227}) {
    for (const int multiprocessors : {1, 8, 16, 46, 132}) {
      for (const bool floats : {false, true}) {
        for (const int m : {1, 16, 17, 49, 196, 1568, 50176}) {
          for (const int n : {1, 128, 384, 768, 3072, 32128}) {
            set_case("choice m %d, n %d, %d KB", m, n, kilobytes);
            const int i = choose_linear_tile(device_of(multiprocessors, kilobytes), m, n, floats);
            CHECK(linear_shared_bytes(kLinearTiles[i], floats) <= std::size_t(kilobytes) << 10);
            CHECK(!floats || i >= 2);
            CHECK(m > 16 || kLinearTiles[i].rows == 16);
          }
        }
      }
    }
  }
  set_case("choice");
  const auto rows = [](int multiprocessors, int m, int n) {
    return kLinearTiles[choose_linear_tile(device_of(multiprocessors), m, n, false)].rows;
  };
  CHECK(rows(16, 50176, 768) == 128 && rows(132, 50176, 768) == 128);
  CHECK(rows(16, 196, 768) == 64 && rows(132, 196, 768) == 16);
  CHECK(rows(132, 196, 2304) == 32 && rows(16, 32, 384) == 16);
  // Of 16 columns for few blocks, of 32 for many.
  CHECK(choose_linear_tile(device_of(132), 1, 3072, false) == 5);
  CHECK(choose_linear_tile(device_of(132), 1, 32128, false) == 4);
}

// Each block reads its rows and columns once; no matrix load takes a bank twice.
void check_traffic() {
  set_case("traffic");
  Product<Half> product({16, 96, 256});
  emulator::reset_counts();
  product.run(device_of(1 << 20));
  CHECK(emulator::counts().copied_bytes == 6 * 32 * 256 * 2);
  CHECK(emulator::counts().multiply_adds == 6 * 2 * 16);
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_choice();
  check_traffic();
  emulator::reset_counts();
  check_sizes();
  check_large_tile();
  check_options();
  check_rows();
  check_magnitudes();
  check_model_shapes();
  check_batches<Half>();
  check_batches<Bf16>();
  check_same_norm<Half>();
  check_same_norm<Bf16>();
  check_not_finite<Half>();
  check_not_finite<Bf16>();
  check_residual_is_y();
  set_case("bank conflicts");
  CHECK(emulator::counts().bank_conflicts == 0 && emulator::counts().matrix_loads > 0);
  return finish("linear_cuda");
}
