// Threads of control that take turns on one thread of the host.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace tokenfuse::cuda::emulator {

class Fiber {
 public:
  static constexpr std::size_t kStackBytes = std::size_t{64} << 10;

  // Runs body(argument) on `stack` from the first `enter` on. The body must not return.
  void prepare(unsigned char* stack, void (*body)(void*), void* argument) noexcept;
  // From outside: goes on with the fiber until it leaves.
  void enter() noexcept;
  // From inside: goes back to who entered.
  void leave() noexcept;
  // From outside, of a fiber that never goes on: its stack may be another's.
  void abandon() noexcept;

 private:
  static void begin(Fiber* fiber) noexcept;
  void switch_in() noexcept;
  void switch_out() noexcept;

  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  unsigned char* stack_ = nullptr;
#if defined(__x86_64__)
  void* inside_ = nullptr;  // stack pointers of the two sides, while the other runs
  void* outside_ = nullptr;
  friend void fiber_main() noexcept;
#else
  ucontext_t inside_, outside_;
#endif
#if defined(__SANITIZE_ADDRESS__)
  const void* outside_stack_ = nullptr;
  std::size_t outside_stack_bytes_ = 0;
  void* fake_stack_ = nullptr;
  void* outside_fake_stack_ = nullptr;
#endif
};

}  // namespace tokenfuse::cuda::emulator
