// linear on a GPU: what comes before and behind the product.
#include "kernels/layer_norm/cuda.h"
#include "linear_product.h"

using tokenfuse::Activation;
using namespace tokenfuse::cuda;

namespace tokenfuse::test {
namespace {

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

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_options();
  check_rows();
  check_magnitudes();
  check_same_norm<Half>();
  check_same_norm<Bf16>();
  check_not_finite<Half>();
  check_not_finite<Bf16>();
  check_residual_is_y();
  set_case("bank conflicts");
  CHECK(emulator::counts().bank_conflicts == 0 && emulator::counts().matrix_loads > 0);
  return finish("linear_options_cuda");
}
