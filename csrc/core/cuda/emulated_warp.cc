#include "core/cuda/emulated_warp.h"

#include <algorithm>
#include <cstring>

namespace tokenfuse::cuda::emulator {
namespace {

void shuffle_lanes(void* const* args) {
  std::uint64_t values[kWarpSize];
  for (int i = 0; i < kWarpSize; ++i) values[i] = static_cast<ShuffleArgs*>(args[i])->value;
  for (int i = 0; i < kWarpSize; ++i) {
    auto* shuffle = static_cast<ShuffleArgs*>(args[i]);
    shuffle->value = values[shuffle->source % kWarpSize];
  }
}

// Rows of 16 bytes are read eight at a time, one pass where all lie in different banks of the 128
// bytes that one pass gives.
void count_conflicts(const unsigned char* const* rows, Counts& counted) {
  int most = 1;
  for (int i = 0; i < 8; ++i) {
    int same = 0;
    for (int j = 0; j < 8; ++j) {
      const auto a = reinterpret_cast<std::uintptr_t>(rows[i]) / 16;
      const auto b = reinterpret_cast<std::uintptr_t>(rows[j]) / 16;
      // The same row twice is read once.
      if (a % 8 == b % 8 && (a != b || i == j)) ++same;
    }
    most = std::max(most, same);
  }
  counted.bank_conflicts += static_cast<std::uint64_t>(most - 1);
}

void load_matrices_of(void* const* args, Counts& counted) {
  const auto args_of = [&](int lane) { return static_cast<LoadMatricesArgs*>(args[lane]); };
  const bool transposed = args_of(0)->transposed;
  for (int matrix = 0; matrix < 4; ++matrix) {
    const unsigned char* rows[8];
    for (int row = 0; row < 8; ++row) {
      rows[row] = static_cast<const unsigned char*>(args_of(8 * matrix + row)->row);
    }
    ++counted.matrix_loads;
    count_conflicts(rows, counted);
    for (int lane = 0; lane < kWarpSize; ++lane) {
      std::uint16_t pair[2];
      for (int i = 0; i < 2; ++i) {
        const int row = transposed ? 2 * (lane % 4) + i : lane / 4;
        const int column = transposed ? lane / 4 : 2 * (lane % 4) + i;
        std::memcpy(&pair[i], rows[row] + 2 * column, 2);
      }
      args_of(lane)->result[matrix] = pair[0] | static_cast<std::uint32_t>(pair[1]) << 16;
    }
  }
}

template <typename T>
void unpack(std::uint32_t word, float& low, float& high) {
  low = to_float(T{static_cast<std::uint16_t>(word & 0xffff)});
  high = to_float(T{static_cast<std::uint16_t>(word >> 16)});
}

template <typename T>
void multiply_lanes(void* const* args, Counts& counted) {
  const auto args_of = [&](int lane) { return static_cast<MultiplyArgs*>(args[lane]); };
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      unpack<T>(args_of(lane)->a[i], a[g + i % 2 * 8][2 * t + i / 2 * 8],
                a[g + i % 2 * 8][2 * t + i / 2 * 8 + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      unpack<T>(args_of(lane)->b[i], b[2 * t + i * 8][g], b[2 * t + i * 8 + 1][g]);
    }
  }
  float c[16][8] = {};
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) c[m][n] += a[m][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) args_of(lane)->c[i] += c[g + i / 2 * 8][2 * t + i % 2];
  }
  ++counted.multiply_adds;
}

}  // namespace

void do_collective(Op op, void* const* args, Counts& counted) {
  switch (op) {
    case Op::kSync:
      break;
    case Op::kShuffle:
      shuffle_lanes(args);
      break;
    case Op::kLoadMatrices:
      load_matrices_of(args, counted);
      break;
    case Op::kMultiplyHalf:
      multiply_lanes<Half>(args, counted);
      break;
    case Op::kMultiplyBf16:
      multiply_lanes<Bf16>(args, counted);
      break;
  }
}

}  // namespace tokenfuse::cuda::emulator
