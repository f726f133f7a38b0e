#include "core/cuda/fiber.h"

#include <cstdint>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace tokenfuse::cuda::emulator {

#if defined(__x86_64__)

// Keeps what a call must keep on the stack, and changes stacks: some 2 ns, where swapcontext asks
// the system twice.
extern "C" void tokenfuse_switch_stack(void** save, void* load);
asm(R"(
.text
.type tokenfuse_switch_stack, @function
.hidden tokenfuse_switch_stack
.globl tokenfuse_switch_stack
tokenfuse_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tokenfuse_switch_stack, .-tokenfuse_switch_stack
)");

namespace {
thread_local Fiber* starting = nullptr;
}  // namespace

void fiber_main() noexcept { Fiber::begin(starting); }

void Fiber::prepare(unsigned char* stack, void (*body)(void*), void* argument) noexcept {
  body_ = body;
  argument_ = argument;
  stack_ = stack;
  // What a switch pops: six registers and where to go on; behind it the stack must be as after a
  // call, eight bytes off a multiple of 16.
  auto top = reinterpret_cast<std::uintptr_t>(stack + kStackBytes) & ~std::uintptr_t{15};
  auto* slots = reinterpret_cast<void**>(top) - 8;
  std::memset(slots, 0, 8 * sizeof(void*));
  slots[6] = reinterpret_cast<void*>(&fiber_main);
  inside_ = slots;
}

void Fiber::switch_in() noexcept {
  starting = this;
  tokenfuse_switch_stack(&outside_, inside_);
}

void Fiber::switch_out() noexcept { tokenfuse_switch_stack(&inside_, outside_); }

#else

void Fiber::prepare(unsigned char* stack, void (*body)(void*), void* argument) noexcept {
  body_ = body;
  argument_ = argument;
  stack_ = stack;
  getcontext(&inside_);
  inside_.uc_stack.ss_sp = stack;
  inside_.uc_stack.ss_size = kStackBytes;
  inside_.uc_link = nullptr;
  // makecontext passes ints.
  const auto address = reinterpret_cast<std::uintptr_t>(this);
  const auto start = [](unsigned high, unsigned low) {
    begin(reinterpret_cast<Fiber*>(static_cast<std::uintptr_t>(high) << 32 | low));
  };
  makecontext(&inside_, reinterpret_cast<void (*)()>(+start), 2,
              static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
}

void Fiber::switch_in() noexcept { swapcontext(&outside_, &inside_); }
void Fiber::switch_out() noexcept { swapcontext(&inside_, &outside_); }

#endif

// The address sanitizer is told of every change of stacks.
void Fiber::enter() noexcept {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&outside_fake_stack_, stack_, kStackBytes);
#endif
  switch_in();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(outside_fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::leave() noexcept {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack_, outside_stack_, outside_stack_bytes_);
#endif
  switch_out();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack_, &outside_stack_, &outside_stack_bytes_);
#endif
}

void Fiber::abandon() noexcept {
#if defined(__SANITIZE_ADDRESS__)
  // Its frames never ended, so what lies between their variables is still marked.
  __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
}

void Fiber::begin(Fiber* fiber) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &fiber->outside_stack_, &fiber->outside_stack_bytes_);
#endif
  fiber->body_(fiber->argument_);
}

}  // namespace tokenfuse::cuda::emulator
