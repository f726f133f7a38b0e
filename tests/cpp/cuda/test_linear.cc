// linear on a GPU: sizes, tiles, and that bits depend on neither.
#include "linear_product.h"

using tokenfuse::Activation;
using namespace tokenfuse::cuda;

namespace tokenfuse::test {
namespace {

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
  all.run_tile(0);
  const Rows many = all.result();
  bool same = true;
  for (const int m : {1, 17, 64, 149}) {
    Product<T> some(p);
    some.args.m = m;
    some.run(device_of(m % 2 == 1 ? 1 : 8));
    const Rows few = some.result();
    for (int i = 0; i < m; ++i) {
      same = same && std::memcmp(&few.at(i, 0), &many.at(i, 0), 130 * sizeof(float)) == 0;
    }
    CHECK(few.row_is_nan(m));
  }
  CHECK(same);
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
            CHECK(linear_tile_fits(i, m, n, floats));
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
  CHECK(rows(16, 196, 768) == 64 && rows(132, 196, 3072) == 64);
  CHECK(rows(132, 196, 768) == 32 && rows(132, 49, 384) == 16);
  // Of 16 columns for few blocks, of 32 for many.
  CHECK(choose_linear_tile(device_of(132), 1, 768, false) == 5);
  CHECK(choose_linear_tile(device_of(132), 1, 32128, false) == 4);
  // A device may have too little shared memory for all but the smallest.
  CHECK(choose_linear_tile(device_of(1, 40), 50176, 768, false) == 5);
}

// Each block reads its rows and columns once; no matrix load takes a bank twice.
void check_traffic() {
  set_case("traffic");
  Product<Half> product({16, 96, 256});
  emulator::reset_counts();
  product.run_tile(kNumLinearTiles - 1);
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
  check_model_shapes();
  check_batches<Half>();
  check_batches<Bf16>();
  set_case("bank conflicts");
  CHECK(emulator::counts().bank_conflicts == 0 && emulator::counts().matrix_loads > 0);
  return finish("linear_cuda");
}
