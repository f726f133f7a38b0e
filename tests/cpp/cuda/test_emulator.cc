// The emulator itself: that it does what the hardware's manual says, and that it refuses what a
// GPU leaves undefined.
#include <cmath>
#include <vector>

#include "check.h"
#include "core/cuda/device.h"
#include "core/cuda/emulator.h"
#include "core/cuda/launch.h"

using namespace tokenfuse::cuda;
using tokenfuse::test::finish;
using tokenfuse::test::set_case;

namespace {

struct SumArgs {
  const float* x;
  float* y;
  bool with_barrier;
};

// Each thread writes its number times x, and reads that of the thread across.
void across(SumArgs args) {
  auto* shared = reinterpret_cast<float*>(shared_memory());
  shared[thread_index()] = args.x[thread_index()];
  if (args.with_barrier) sync_threads();
  args.y[thread_index()] = shared[num_threads() - 1 - thread_index()];
}

void test_barriers() {
  constexpr int kThreads = 96;
  std::vector<float> x(kThreads), y(kThreads);
  for (int i = 0; i < kThreads; ++i) x[i] = static_cast<float>(i);
  Stream stream;
  using Order = emulator::Schedule::Order;
  for (const Order order : {Order::kForward, Order::kBackward, Order::kShuffled}) {
    set_case("order %d", static_cast<int>(order));
    emulator::set_schedule({order, true, 7});
    launch(stream, "across", across, {1}, kThreads, kThreads * sizeof(float),
           SumArgs{x.data(), y.data(), true});
    bool right = true;
    for (int i = 0; i < kThreads; ++i) right = right && y[i] == x[kThreads - 1 - i];
    CHECK(right);
    launch(stream, "across", across, {1}, kThreads, kThreads * sizeof(float),
           SumArgs{x.data(), y.data(), false});
    bool stale = false;
    for (int i = 0; i < kThreads; ++i) stale = stale || std::isnan(y[i]);
    CHECK(stale);
  }
  emulator::set_schedule({});
}

struct ProductArgs {
  const std::uint16_t *a, *b;  // (16, 16) and (8, 16)
  float* c;                    // (16, 8)
  bool half, transposed;
};

template <typename T>
void product(ProductArgs args) {
  auto* a = reinterpret_cast<std::uint16_t*>(shared_memory());
  std::uint16_t* b = a + 16 * 24;
  for (int i = thread_index(); i < 256; i += num_threads()) a[i / 16 * 24 + i % 16] = args.a[i];
  for (int i = thread_index(); i < 128; i += num_threads()) {
    // Transposed: as (16, 8).
    if (args.transposed) {
      b[i % 16 * 24 + i / 16] = args.b[i];
    } else {
      b[i / 16 * 24 + i % 16] = args.b[i];
    }
  }
  sync_warp();
  const int lane = lane_index();
  std::uint32_t ra[4], rb[4];
  load_matrices_x4(ra, a + lane % 16 * 24 + lane / 16 * 8);
  if (args.transposed) {
    load_matrices_x4_transposed(rb, b + lane % 16 * 24);
  } else {
    load_matrices_x4(rb, b + lane % 8 * 24 + lane / 8 % 2 * 8);
  }
  // The second two of rb are the first two again.
  float c[4] = {};
  multiply_add<T>(c, ra, rb);
  const int g = lane / 4, t = lane % 4;
  for (int i = 0; i < 4; ++i) args.c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = c[i];
}

template <typename T>
void test_product(bool transposed) {
  set_case("product, transposed %d", transposed);
  std::vector<std::uint16_t> a(256), b(128);
  std::vector<float> c(128), expected(128);
  for (int i = 0; i < 256; ++i) a[i] = from_float<T>(static_cast<float>(i % 37 - 18)).bits;
  for (int i = 0; i < 128; ++i) b[i] = from_float<T>(static_cast<float>(i % 29 - 14)).bits;
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      for (int k = 0; k < 16; ++k) {
        expected[m * 8 + n] += to_float(T{a[m * 16 + k]}) * to_float(T{b[n * 16 + k]});
      }
    }
  }
  Stream stream;
  launch(stream, "product", product<T>, {1}, 32, 24 * 24 * 2 + 400,
         ProductArgs{a.data(), b.data(), c.data(), true, transposed});
  CHECK(c == expected);
}

struct CopyArgs {
  const float* x;
  float* y;
  int waits;  // 0: for all groups
};

// Copies three groups of 16 bytes a thread, and reads the first.
void copies(CopyArgs args) {
  auto* shared = reinterpret_cast<float*>(shared_memory());
  for (int group = 0; group < 3; ++group) {
    const int at = (group * num_threads() + thread_index()) * 4;
    copy_async(shared + at, args.x + at, group != 1);
    copy_async_commit();
  }
  if (args.waits == 2) copy_async_wait<2>();
  if (args.waits == 0) copy_async_wait<0>();
  for (int group = 0; group < 3; ++group) {
    const int at = (group * num_threads() + thread_index()) * 4;
    args.y[group * num_threads() + thread_index()] = shared[at + 3];
  }
  copy_async_wait<0>();
}

void test_copies() {
  set_case("copies");
  auto x = std::vector<Vec128>(3 * 32);
  auto* floats = reinterpret_cast<float*>(x.data());
  for (int i = 0; i < 3 * 32 * 4; ++i) floats[i] = static_cast<float>(i);
  std::vector<float> y(3 * 32);
  Stream stream;
  launch(stream, "copies", copies, {1}, 32, x.size() * 16, CopyArgs{floats, y.data(), 0});
  CHECK(y[5] == floats[5 * 4 + 3]);
  CHECK(y[32 + 5] == 0.0f);
  CHECK(y[64 + 5] == floats[(64 + 5) * 4 + 3]);
  launch(stream, "copies", copies, {1}, 32, x.size() * 16, CopyArgs{floats, y.data(), 2});
  CHECK(y[5] == floats[5 * 4 + 3]);
  CHECK(std::isnan(y[64 + 5]));
  emulator::set_schedule({emulator::Schedule::Order::kForward, false, 1});
  launch(stream, "copies", copies, {1}, 32, x.size() * 16, CopyArgs{floats, y.data(), 2});
  CHECK(y[64 + 5] == floats[(64 + 5) * 4 + 3]);
  emulator::set_schedule({});
}

struct WrongArgs {
  int what;
  const float* x;
};

void wrong(WrongArgs args) {
  if (args.what == 0 && lane_index() < 16) sync_warp();
  if (args.what == 1 && warp_index() == 0) sync_threads();
  if (args.what == 2) copy_async(shared_memory() + 4, args.x, true);
  if (args.what == 3) copy_async(shared_memory(), args.x, true);
  if (args.what == 4) {
    std::uint32_t r[4];
    load_matrices_x4(r, shared_memory() + 2);
  }
}

void test_refusals() {
  const std::vector<Vec128> x(8);
  Stream stream;
  for (int what = 0; what < 5; ++what) {
    set_case("wrong %d", what);
    const WrongArgs args{what, reinterpret_cast<const float*>(x.data())};
    CHECK_THROWS(CudaError, launch(stream, "wrong", wrong, {1}, 64, 1024, args));
  }
  const WrongArgs none{9, nullptr};
  CHECK_THROWS(CudaError, launch(stream, "wrong", wrong, {1}, 33, 0, none));
  CHECK_THROWS(CudaError, launch(stream, "wrong", wrong, {0}, 32, 0, none));
  CHECK_THROWS(CudaError, launch(stream, "wrong", wrong, {1}, 32, 200 << 10, none));
}

void test_numbers() {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const Half half{static_cast<std::uint16_t>(bits)};
    const Bf16 bf16{static_cast<std::uint16_t>(bits)};
    const float a = to_float(half), b = to_float(bf16);
    if (std::isfinite(a) && from_float<Half>(a).bits != bits) CHECK(!"half does not come back");
    if (!std::isnan(b) && from_float<Bf16>(b).bits != bits) CHECK(!"bf16 does not come back");
    // Between two neighbours: to the nearer, in the middle to the even one.
    const float next = to_float(Half{static_cast<std::uint16_t>(bits + 1)});
    if ((bits & 0x7fff) < 0x7bff) {
      const float middle = static_cast<float>((static_cast<double>(a) + next) / 2);
      if (from_float<Half>(middle).bits != bits + (bits & 1)) CHECK(!"half rounds wrong");
      if (from_float<Half>(std::nextafter(middle, a)).bits != bits) CHECK(!"half rounds wrong");
    }
  }
  CHECK(from_float<Half>(1e9f).bits == 0x7bff);
  CHECK(from_float<Half>(-1e9f).bits == 0xfbff);
  CHECK(std::isnan(to_float(from_float<Half>(std::nanf("")))));
  CHECK(std::isnan(to_float(from_float<Bf16>(std::nanf("")))));
}

struct CountArgs {
  int *left, *count;
};

void count_down(CountArgs args) {
  if (thread_index() == 0) {
    --*args.left;
    ++*args.count;
  }
}

void test_graphs() {
  set_case("graphs");
  Stream stream;
  DeviceBuffer left(sizeof(int)), count(sizeof(int));
  int host_left = 3, host_count = 0;
  const CountArgs args{static_cast<int*>(left.data()), static_cast<int*>(count.data())};
  const Graph graph = Graph::capture(stream, [&](Stream& s) {
    s.copy_to_device(left.data(), &host_left, sizeof(int));
    s.set_bytes(count.data(), 0, sizeof(int));
    s.loop(args.left, 5,
           [&](Stream& inner) { launch(inner, "count_down", count_down, {1}, 32, 0, args); });
    s.copy_to_host(&host_count, count.data(), sizeof(int));
    CHECK_THROWS(CudaError, s.wait());
  });
  CHECK(host_count == 0);
  for (const int from : {3, 0, 9}) {
    host_left = from;
    graph.launch(stream);
    stream.wait();
    CHECK(host_count == std::min(from, 5));
  }
}

void test_memory() {
  set_case("memory");
  emulator::set_memory_limit(1000);
  DeviceBuffer some(600);
  try {
    DeviceBuffer more(500);
    CHECK(!"more than there is");
  } catch (const OutOfMemory& error) {
    CHECK(error.asked_bytes() == 500 && error.free_bytes() == 400);
  }
  some = DeviceBuffer();
  DeviceBuffer more(500);
  emulator::set_memory_limit(0);
}

}  // namespace

int main() {
  test_numbers();
  test_barriers();
  for (const bool transposed : {false, true}) {
    test_product<Half>(transposed);
    test_product<Bf16>(transposed);
  }
  test_copies();
  test_refusals();
  test_graphs();
  test_memory();
  return finish("emulator");
}
