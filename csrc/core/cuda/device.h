// What a kernel may use of the GPU: all of it, so that a kernel that keeps to this header is also
// compiled for the host and run there by the emulator (emulator.h), lane by lane, under the same
// tests. A kernel is TF_KERNEL void name(Args args), with one argument that is copied; it never
// reads threadIdx or writes PTX itself.
//
// Collectives (marked) are entered by all 32 lanes of a warp, or all threads of a block, together.
#pragma once

#include <cstdint>

#include "core/cuda/types.h"

#if defined(__CUDACC__)
#define TF_KERNEL __global__
#define TF_DEVICE __device__ __forceinline__
#define TF_HOST_DEVICE __host__ __device__ __forceinline__
#define TF_LAUNCH_BOUNDS(max_threads, min_blocks) __launch_bounds__(max_threads, min_blocks)
#define TF_UNROLL _Pragma("unroll")
#else
#define TF_KERNEL
#define TF_DEVICE inline
#define TF_HOST_DEVICE inline
#define TF_LAUNCH_BOUNDS(max_threads, min_blocks)
#define TF_UNROLL
#endif

namespace tokenfuse::cuda {

// Sixteen bytes, read or written at once. The address must be a multiple of 16.
struct alignas(16) Vec128 {
  std::uint32_t words[4];
};

inline constexpr int kWarpSize = 32;

}  // namespace tokenfuse::cuda

#if defined(__CUDACC__)
#include "core/cuda/device_gpu.h"
#else
#include "core/cuda/device_emulated.h"
#endif

namespace tokenfuse::cuda {

// ---- where this thread is: int thread_index(), num_threads(), lane_index(), warp_index();
// int block_x(), block_y(), block_z().
// ---- unsigned char* shared_memory(): the block's, 16-byte aligned, of the size of the launch.
// ---- collectives of a block: void sync_threads().
// ---- collectives of a warp: void sync_warp(); T shuffle_xor(T, int mask).
// ---- void load_matrices_x4(uint32_t r[4], const void* row), and with _transposed:
//   8 x 8 matrices of 16-bit values from shared memory (PTX ldmatrix). Lanes 8 i to 8 i + 7 give
//   the 16-byte rows of matrix i; then r[i] of lane l holds row l / 4, columns 2 (l % 4) and the
//   next (transposed: rows 2 (l % 4) and the next of column l / 4).
// ---- void multiply_add<T>(float c[4], const uint32_t a[4], const uint32_t b[2]): c += a b, with
//   a 16 x 16, b 16 x 8, c 16 x 8 (PTX mma.m16n8k16). Of lane l, with g = l / 4 and t = l % 4:
//   c: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
//   a: pairs of columns 2t, 2t + 1 of rows g, g + 8; then columns 2t + 8, 2t + 9 of g, g + 8.
//   b: pairs of rows 2t, 2t + 1 of column g; then rows 2t + 8, 2t + 9.
//   What load_matrices_x4 gives for the four quarters of a in the order (top left, bottom left,
//   top right, bottom right) is a; what it gives, not transposed, for rows of b's transpose is b.
// ---- global to shared memory in the background, 16 bytes at aligned addresses (zeros where
//   `valid` is false; nothing is read then): void copy_async(void* shared, const void* global,
//   bool valid); void copy_async_commit() ends a group; void copy_async_wait<N>() waits until at
//   most N groups of this thread are on their way (others' need sync_threads behind it).
// ---- numbers: float to_float(T); T from_float<T>(float): to nearest even, and beyond the largest
//   Half to it; float exp2_fast(float); float rsqrt_fast(float), within 2 ulp and subnormals 0.

// Two values in one register, the lower address in the lower half.
template <typename T>
TF_DEVICE std::uint32_t pack(float low, float high) {
  return static_cast<std::uint32_t>(from_float<T>(low).bits) |
         static_cast<std::uint32_t>(from_float<T>(high).bits) << 16;
}

TF_DEVICE Vec128 load_128(const void* from) { return *static_cast<const Vec128*>(from); }
TF_DEVICE void store_128(void* to, const Vec128& value) { *static_cast<Vec128*>(to) = value; }

// A collective of a warp: every lane has the result.
TF_DEVICE float warp_sum(float value) {
  TF_UNROLL for (int mask = kWarpSize / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

}  // namespace tokenfuse::cuda
