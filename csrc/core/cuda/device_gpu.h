// device.h on a GPU of compute capability 8.0 and later.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace tokenfuse::cuda {

TF_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
TF_DEVICE int num_threads() { return static_cast<int>(blockDim.x); }
TF_DEVICE int lane_index() { return static_cast<int>(threadIdx.x) % kWarpSize; }
TF_DEVICE int warp_index() { return static_cast<int>(threadIdx.x) / kWarpSize; }
TF_DEVICE int block_x() { return static_cast<int>(blockIdx.x); }
TF_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }
TF_DEVICE int block_z() { return static_cast<int>(blockIdx.z); }

TF_DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(16) unsigned char tokenfuse_shared[];
  return tokenfuse_shared;
}

TF_DEVICE void sync_threads() { __syncthreads(); }
TF_DEVICE void sync_warp() { __syncwarp(); }

inline constexpr unsigned kAllLanes = 0xffffffffu;

template <typename T>
TF_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(kAllLanes, value, mask);
}

TF_DEVICE unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

TF_DEVICE void load_matrices_x4(std::uint32_t r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

TF_DEVICE void load_matrices_x4_transposed(std::uint32_t r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

template <typename T>
TF_DEVICE void multiply_add(float c[4], const std::uint32_t a[4], const std::uint32_t b[2]);

template <>
TF_DEVICE void multiply_add<Half>(float c[4], const std::uint32_t a[4], const std::uint32_t b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
TF_DEVICE void multiply_add<Bf16>(float c[4], const std::uint32_t a[4], const std::uint32_t b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

TF_DEVICE void copy_async(void* shared, const void* global, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(bytes)
               : "memory");
}

TF_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int kGroups>
TF_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

TF_DEVICE float to_float(Half value) { return __half2float(__ushort_as_half(value.bits)); }
TF_DEVICE float to_float(Bf16 value) {
  return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

template <typename T>
TF_DEVICE T from_float(float value);

template <>
TF_DEVICE Half from_float<Half>(float value) {
  // Not min and max: those would turn NaN into a number.
  constexpr float kLargest = 65504.0f;
  value = value > kLargest ? kLargest : value < -kLargest ? -kLargest : value;
  return {__half_as_ushort(__float2half_rn(value))};
}

template <>
TF_DEVICE Bf16 from_float<Bf16>(float value) {
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
}

TF_DEVICE float exp2_fast(float value) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}

TF_DEVICE float rsqrt_fast(float value) {
  float result;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}

}  // namespace tokenfuse::cuda
