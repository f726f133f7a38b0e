// What is used of the published ABI of DLPack (dmlc/dlpack, versions 0.x and 1.x): names and
// layouts are theirs.
#pragma once

#include <cstdint>

namespace tokenfuse::cuda::dlpack {

inline constexpr std::int32_t kHost = 1, kCuda = 2, kCudaManaged = 13;
inline constexpr std::uint8_t kInt = 0, kFloat = 2, kBfloat = 4;
inline constexpr std::uint64_t kReadOnly = 1;

// Of capsules; a consumer renames what it has taken.
inline constexpr char kName[] = "dltensor", kUsedName[] = "used_dltensor";
inline constexpr char kVersionedName[] = "dltensor_versioned";
inline constexpr char kUsedVersionedName[] = "used_dltensor_versioned";

struct Device {
  std::int32_t type, id;
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: C-contiguous
  std::uint64_t byte_offset;
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct ManagedVersioned {
  std::uint32_t major, minor;
  void* context;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

}  // namespace tokenfuse::cuda::dlpack
