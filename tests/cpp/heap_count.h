// Counts every allocation of the process: this header stands before the C library's own functions,
// which operator new and the libraries call too. For one source of a program.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HEAP_IS_COUNTED 1
#else
#define HEAP_IS_COUNTED 0
#endif

namespace tokenfuse::test {

inline std::atomic<bool> counts_heap{false};
inline std::atomic<long> num_allocations{0};

// Allocations on all threads while `body` runs.
template <typename Body>
long allocations_of(Body&& body) {
  num_allocations.store(0);
  counts_heap.store(true);
  body();
  counts_heap.store(false);
  return num_allocations.load();
}

// Why nothing is counted here, or null.
inline const char* no_heap_count() {
  if (!HEAP_IS_COUNTED) return "the heap is another library's, or a sanitizer's";
  const char* preloaded = std::getenv("LD_PRELOAD");
  if (preloaded != nullptr && std::strstr(preloaded, "vgpreload") != nullptr) {
    return "the heap is valgrind's";
  }
  return nullptr;
}

}  // namespace tokenfuse::test

#if HEAP_IS_COUNTED

extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* old, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
}

namespace tokenfuse::test {

inline void count_allocation() noexcept {
  if (counts_heap.load(std::memory_order_relaxed)) num_allocations.fetch_add(1);
}

}  // namespace tokenfuse::test

#define HEAP_FUNCTION extern "C" __attribute__((visibility("default")))

HEAP_FUNCTION void* malloc(std::size_t bytes) noexcept {
  tokenfuse::test::count_allocation();
  return __libc_malloc(bytes);
}

HEAP_FUNCTION void* calloc(std::size_t count, std::size_t bytes) noexcept {
  tokenfuse::test::count_allocation();
  return __libc_calloc(count, bytes);
}

HEAP_FUNCTION void* realloc(void* old, std::size_t bytes) noexcept {
  tokenfuse::test::count_allocation();
  return __libc_realloc(old, bytes);
}

HEAP_FUNCTION void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  tokenfuse::test::count_allocation();
  return __libc_memalign(alignment, bytes);
}

HEAP_FUNCTION void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  tokenfuse::test::count_allocation();
  return __libc_memalign(alignment, bytes);
}

HEAP_FUNCTION int posix_memalign(void** to, std::size_t alignment, std::size_t bytes) noexcept {
  tokenfuse::test::count_allocation();
  *to = __libc_memalign(alignment, bytes);
  return *to == nullptr ? ENOMEM : 0;
}

#endif
