// ThreadPool: every task once, memory seen on both sides, sleeping workers woken, refusals.
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <system_error>

#include "check.h"
#include "core/thread_pool.h"

namespace {

// Threads that the system still grants; negative: any number.
int threads_left = -1;
// While it is set, threads do not begin: as on a machine whose cores are all taken.
std::atomic<bool> threads_held{false};

struct Start {
  void* (*function)(void*);
  void* argument;
};

void* begin_when_let(void* given) {
  const Start start = *static_cast<Start*>(given);
  delete static_cast<Start*>(given);
  while (threads_held.load()) std::this_thread::yield();
  return start.function(start.argument);
}

}  // namespace

// Stands before the C library's, so that the system can be made to refuse a thread.
extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* thread,
                                                                     const pthread_attr_t* options,
                                                                     void* (*start)(void*),
                                                                     void* argument) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (threads_left == 0) return EAGAIN;
  if (threads_left > 0) --threads_left;
  return create(thread, options, begin_when_let, new Start{start, argument});
}

namespace tokenfuse::test {
namespace {

// Plain memory, no atomics: the pool alone must order the writes.
void check_run(ThreadPool& pool, std::int64_t num_tasks) {
  std::vector<std::int64_t> input(static_cast<std::size_t>(num_tasks));
  std::vector<std::int64_t> output(input.size(), -1);
  std::vector<int> times(input.size(), 0);
  for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<std::int64_t>(3 * i + 1);
  std::atomic<bool> threads_ok{true};
  pool.parallel_for(num_tasks, [&](std::int64_t task, int thread) {
    if (thread < 0 || thread >= pool.num_threads()) threads_ok = false;
    const auto i = static_cast<std::size_t>(task);
    output[i] = 2 * input[i];
    ++times[i];
  });
  bool once = true;
  for (std::size_t i = 0; i < input.size(); ++i) once &= times[i] == 1 && output[i] == 2 * input[i];
  CHECK(once && threads_ok);
}

void check_tasks() {
  for (const int num_threads : {-1, 0, 1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    set_case("%d threads", num_threads);
    CHECK(pool.num_threads() == (num_threads < 1 ? 1 : num_threads));
    for (const std::int64_t num_tasks : {0, 1, 2, 3, 7, 8, 9, 101}) {
      set_case("%d threads, %d tasks", num_threads, static_cast<int>(num_tasks));
      check_run(pool, num_tasks);
    }
    int calls = 0;
    pool.parallel_for(-5, [&](std::int64_t, int) { ++calls; });
    CHECK(calls == 0);
  }
}

// A thread's number is its own while it runs a task: scratch is given out by it.
void check_thread_numbers() {
  set_case("thread numbers");
  ThreadPool pool(4);
  std::atomic<int> inside[4] = {};
  std::atomic<bool> shared{false};
  pool.parallel_for(200, [&](std::int64_t, int thread) {
    if (inside[thread].fetch_add(1) != 0) shared = true;
    std::this_thread::yield();
    inside[thread].fetch_sub(1);
  });
  CHECK(!shared);
}

// Loops that follow at once, and after the workers have gone to sleep or are about to.
void check_rhythm() {
  ThreadPool pool(3);
  for (int i = 0; i < 300; ++i) {
    set_case("loop %d", i);
    check_run(pool, 5 + i % 3);
  }
  for (int i = 0; i < 60; ++i) {
    set_case("loop %d after a pause", i);
    std::this_thread::sleep_for(std::chrono::microseconds(i < 20 ? 2000 : 10 * (i - 20)));
    check_run(pool, 4);
  }
}

// Pools that end at once, after work, or asleep.
void check_lifetimes() {
  for (int i = 0; i < 30; ++i) {
    set_case("life %d", i);
    ThreadPool pool(1 + i % 4);
    if (i % 3 == 1) check_run(pool, 6);
    if (i % 3 == 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Each caller with a pool of its own.
void check_pools_side_by_side() {
  set_case("pools side by side");
  std::atomic<std::int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      ThreadPool pool(2);
      for (int i = 0; i < 30; ++i) {
        pool.parallel_for(10, [&](std::int64_t task, int) { sum.fetch_add(task); });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(sum == 3 * 30 * 45);
}

// A loop waits for tasks, not for threads: held ones are missed by nobody, and none does a task of
// a loop that is over.
void check_late_workers() {
  set_case("late workers");
  threads_held = true;
  {
    ThreadPool pool(3);
    for (int i = 0; i < 20; ++i) {
      bool caller_alone = true;
      pool.parallel_for(7, [&](std::int64_t, int thread) { caller_alone &= thread == 0; });
      CHECK(caller_alone);
      check_run(pool, 1 + i);
    }
    threads_held = false;
    for (int i = 0; i < 200; ++i) check_run(pool, 1 + i % 9);
  }
}

// The threads before the refused one are joined: the error reaches the caller.
void check_refusal() {
  for (const int granted : {0, 1, 3}) {
    set_case("%d threads granted", granted);
    threads_left = granted;
    CHECK_THROWS(std::system_error, ThreadPool(6));
    CHECK(threads_left == 0);
    threads_left = -1;
  }
  ThreadPool pool(4);
  check_run(pool, 9);
}

void check_default() {
  set_case("default_num_threads");
  CHECK(default_num_threads() >= 1);
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  using namespace tokenfuse::test;
  check_tasks();
  check_thread_numbers();
  check_rhythm();
  check_lifetimes();
  check_pools_side_by_side();
  check_late_workers();
  check_refusal();
  check_default();
  return finish("thread_pool");
}
