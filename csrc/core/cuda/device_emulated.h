// device.h on the host: what a lane does here goes to the emulator.
#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

#include "core/cuda/half_types.h"

namespace tokenfuse::cuda {
namespace emulator {

// Of the lane that runs.
struct Place {
  int thread, num_threads, block[3];
  unsigned char* shared;
};
const Place& place() noexcept;

enum class Op { kSync, kShuffle, kLoadMatrices, kMultiplyHalf, kMultiplyBf16 };

struct ShuffleArgs {
  std::uint64_t value;  // the result, behind the collective
  int source;
};
struct LoadMatricesArgs {
  const void* row;
  std::uint32_t* result;
  bool transposed;
};
struct MultiplyArgs {
  float* c;
  const std::uint32_t *a, *b;
};

// Waits for the other lanes; `args` is of the op's kind.
void meet_warp(Op op, void* args);
void meet_block();
void copy_async(void* shared, const void* global, bool valid);
void copy_async_commit();
void copy_async_wait(int groups);

}  // namespace emulator

TF_DEVICE int thread_index() { return emulator::place().thread; }
TF_DEVICE int num_threads() { return emulator::place().num_threads; }
TF_DEVICE int lane_index() { return emulator::place().thread % kWarpSize; }
TF_DEVICE int warp_index() { return emulator::place().thread / kWarpSize; }
TF_DEVICE int block_x() { return emulator::place().block[0]; }
TF_DEVICE int block_y() { return emulator::place().block[1]; }
TF_DEVICE int block_z() { return emulator::place().block[2]; }
TF_DEVICE unsigned char* shared_memory() { return emulator::place().shared; }
TF_DEVICE void sync_threads() { emulator::meet_block(); }
TF_DEVICE void sync_warp() { emulator::meet_warp(emulator::Op::kSync, nullptr); }

template <typename T>
TF_DEVICE T shuffle_xor(T value, int mask) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t), "one register or two");
  emulator::ShuffleArgs args{0, lane_index() ^ mask};
  std::memcpy(&args.value, &value, sizeof(T));
  emulator::meet_warp(emulator::Op::kShuffle, &args);
  std::memcpy(&value, &args.value, sizeof(T));
  return value;
}

TF_DEVICE void load_matrices(std::uint32_t* r, const void* row, bool transposed) {
  emulator::LoadMatricesArgs args{row, r, transposed};
  emulator::meet_warp(emulator::Op::kLoadMatrices, &args);
}
TF_DEVICE void load_matrices_x4(std::uint32_t r[4], const void* row) {
  load_matrices(r, row, false);
}
TF_DEVICE void load_matrices_x4_transposed(std::uint32_t r[4], const void* row) {
  load_matrices(r, row, true);
}

template <typename T>
TF_DEVICE void multiply_add(float c[4], const std::uint32_t a[4], const std::uint32_t b[2]) {
  emulator::MultiplyArgs args{c, a, b};
  emulator::meet_warp(
      std::is_same<T, Half>::value ? emulator::Op::kMultiplyHalf : emulator::Op::kMultiplyBf16,
      &args);
}

TF_DEVICE void copy_async(void* shared, const void* global, bool valid) {
  emulator::copy_async(shared, global, valid);
}
TF_DEVICE void copy_async_commit() { emulator::copy_async_commit(); }
template <int kGroups>
TF_DEVICE void copy_async_wait() {
  emulator::copy_async_wait(kGroups);
}

TF_DEVICE float exp2_fast(float value) { return std::exp2(value); }
TF_DEVICE float rsqrt_fast(float value) { return 1.0f / std::sqrt(value); }

}  // namespace tokenfuse::cuda
