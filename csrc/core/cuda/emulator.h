// A GPU's threads on one of the host's: what runs kernels where there is no GPU, to test them.
//
// The threads of a block are fibers. A fiber runs until it meets a collective; a collective of a
// warp is done once all its lanes are there, one of a block once all its warps are. What a GPU
// leaves undefined is made to fail:
//   - lanes that do not meet in the same collective: an error, never a hang;
//   - addresses of collectives, copies and vectors that are not aligned: an error;
//   - shared and device memory begins as NaN in every type;
//   - the order of threads between two barriers, and when a copy in the background is done, are
//     chosen by a seed: a kernel that needs a barrier which it lacks gives other bits.
// Memory is the host's heap, so the address sanitizer sees every access outside of it.
#pragma once

#include <cstdint>
#include <string>

#include "core/cuda/runtime.h"

namespace tokenfuse::cuda::emulator {

struct Schedule {
  enum class Order { kForward, kBackward, kShuffled };
  Order order = Order::kForward;
  // Copies in the background are done when they are waited for, not when they are asked.
  bool late_copies = true;
  std::uint64_t seed = 1;
};

// For the launches that follow.
void set_schedule(const Schedule& schedule) noexcept;

// Of the device that is shown: a small one by default, so that limits are met.
void set_device(const DeviceInfo& info);

// Bytes that device memory may hold, for tests of what happens when it is full. 0: no limit.
void set_memory_limit(std::size_t bytes) noexcept;

// Whether the device decides the loops of graphs, as by default. Without, their bodies are recorded
// as often as they may come, which is what drivers before CUDA 12.4 need.
void set_loops(bool decided) noexcept;

struct Counts {
  std::uint64_t launches;
  std::uint64_t multiply_adds;   // warp-wide instructions
  std::uint64_t matrix_loads;    // 8 x 8 matrices
  std::uint64_t bank_conflicts;  // extra passes of shared memory that those took
  std::uint64_t copied_bytes;    // by copies in the background
};
Counts counts() noexcept;
void reset_counts() noexcept;

// Runs every block of a launch. Throws CudaError.
void run(const KernelCall& call);

}  // namespace tokenfuse::cuda::emulator
