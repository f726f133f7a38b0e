// A typed kernel launch.
#pragma once

#include <type_traits>

#include "core/cuda/runtime.h"

namespace tokenfuse::cuda {

// kernel(args) by every thread of every block, behind what the stream was asked before. `name` is
// told where it fails.
template <typename Args>
void launch(Stream& stream, const char* name, void (*kernel)(Args), Grid grid, int num_threads,
            std::size_t shared_bytes, const Args& args) {
  static_assert(std::is_trivially_copyable<Args>::value, "arguments are copied to the device");
#if defined(__CUDACC__)
  constexpr auto run = nullptr;
#else
  const auto run = [](const void* symbol, const void* argument) {
    reinterpret_cast<void (*)(Args)>(const_cast<void*>(symbol))(
        *static_cast<const Args*>(argument));
  };
#endif
  stream.launch({reinterpret_cast<const void*>(kernel), run, &args, sizeof(Args), grid, num_threads,
                 shared_bytes, name});
}

}  // namespace tokenfuse::cuda
