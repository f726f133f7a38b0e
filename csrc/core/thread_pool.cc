#include "core/thread_pool.h"

#include <algorithm>
#include <cstdio>

#include "core/fork.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tokenfuse {
namespace {

// About 50 us on a 3 GHz core: longer than the gaps between a model's loops,
// shorter than a person or a battery notices.
constexpr int kSpins = 2000;

void pause() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  // `yield` does nothing on most cores; this empties the pipeline, some tens of cycles.
  asm volatile("isb");
#endif
}

// Cores granted by the cgroup (version 2, then 1), 0 where there is no limit.
int quota_cores() noexcept {
  long long quota = -1, period = 0;
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    if (std::fscanf(file, "%lld %lld", &quota, &period) != 2) quota = -1;
    std::fclose(file);
  } else if (std::FILE* v1 = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r")) {
    if (std::fscanf(v1, "%lld", &quota) != 1) quota = -1;
    std::fclose(v1);
    if (std::FILE* p = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r")) {
      if (std::fscanf(p, "%lld", &period) != 1) period = 0;
      std::fclose(p);
    }
  }
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::max<long long>(1, quota / period));
}

}  // namespace

int default_num_threads() noexcept {
  int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) count = CPU_COUNT(&set);
#endif
  const int quota = quota_cores();
  if (quota > 0) count = std::min(count, quota);
  return std::max(count, 1);
}

ThreadPool::Workers::Workers(int count) {
  threads.reserve(static_cast<std::size_t>(count));
  try {
    for (int i = 1; i <= count; ++i) threads.emplace_back([this, i] { work(i); });
  } catch (...) {
    // The workers before the refused one are running: left unjoined, they end the process.
    stop();
    throw;
  }
}

ThreadPool::Workers::~Workers() { stop(); }

void ThreadPool::Workers::stop() noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopped.store(true);
    generation.fetch_add(1);
  }
  wake.notify_all();
  for (std::thread& thread : threads) thread.join();
}

void ThreadPool::Workers::take_tasks(int thread) noexcept {
  for (;;) {
    const std::int64_t task = next_task.fetch_add(1, std::memory_order_relaxed);
    if (task >= num_tasks) return;
    function(context, task, thread);
  }
}

void ThreadPool::Workers::work(int thread) {
  std::uint64_t seen = 0;
  for (;;) {
    int spins = 0;
    while (generation.load(std::memory_order_acquire) == seen && spins < kSpins) {
      pause();
      ++spins;
    }
    if (generation.load() == seen) {
      std::unique_lock<std::mutex> lock(mutex);
      num_sleeping.fetch_add(1);
      wake.wait(lock, [&] { return generation.load() != seen; });
      num_sleeping.fetch_sub(1);
    }
    seen = generation.load(std::memory_order_acquire);
    if (stopped.load()) return;
    take_tasks(thread);
    num_busy.fetch_sub(1, std::memory_order_release);
  }
}

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(std::max(num_threads, 1)), process_(this_process()) {
  if (num_threads_ > 1) workers_ = std::make_unique<Workers>(num_threads_ - 1);
}

ThreadPool::~ThreadPool() { leave_behind(); }

// In a forked process: forgets the workers, which are not there, and says so. Their memory is
// given up: to destroy it would be to join them.
bool ThreadPool::leave_behind() noexcept {
  if (workers_ == nullptr || process_ == this_process()) return false;
  static_cast<void>(workers_.release());
  return true;
}

void ThreadPool::run(std::int64_t num_tasks, Function function, void* context) noexcept {
  if (num_tasks <= 0) return;
  if (num_tasks > 1 && leave_behind()) {
    process_ = this_process();
    try {
      workers_ = std::make_unique<Workers>(num_threads_ - 1);
    } catch (...) {
      // The system grants no more threads: the caller does all tasks, with the same results.
    }
  }
  if (workers_ == nullptr || num_tasks == 1) {
    for (std::int64_t task = 0; task < num_tasks; ++task) function(context, task, 0);
    return;
  }
  Workers& w = *workers_;
  w.function = function;
  w.context = context;
  w.num_tasks = num_tasks;
  w.next_task.store(0, std::memory_order_relaxed);
  w.num_busy.store(num_threads_ - 1, std::memory_order_relaxed);
  // Sequentially consistent with the sleeper's counter: either it sees the new
  // generation, or we see it asleep.
  w.generation.fetch_add(1);
  if (w.num_sleeping.load() > 0) {
    {
      std::lock_guard<std::mutex> lock(w.mutex);
    }
    w.wake.notify_all();
  }
  w.take_tasks(0);
  // On a loaded machine a worker may not be on a core: let it have ours.
  for (int spins = 0; w.num_busy.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace tokenfuse
