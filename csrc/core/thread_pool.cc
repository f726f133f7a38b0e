#include "core/thread_pool.h"

#include <algorithm>
#include <cstdio>

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
  asm volatile("yield");
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

ThreadPool::ThreadPool(int num_threads) {
  workers_.reserve(static_cast<std::size_t>(std::max(num_threads - 1, 0)));
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
    generation_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::take_tasks(int thread) noexcept {
  for (;;) {
    const std::int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (task >= num_tasks_) return;
    function_(context_, task, thread);
  }
}

void ThreadPool::run(std::int64_t num_tasks, Function function, void* context) noexcept {
  if (num_tasks <= 0) return;
  if (workers_.empty() || num_tasks == 1) {
    for (std::int64_t task = 0; task < num_tasks; ++task) function(context, task, 0);
    return;
  }
  function_ = function;
  context_ = context;
  num_tasks_ = num_tasks;
  next_task_.store(0, std::memory_order_relaxed);
  num_busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  // Sequentially consistent with the sleeper's counter: either it sees the new
  // generation, or we see it asleep.
  generation_.fetch_add(1);
  if (num_sleeping_.load() > 0) {
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  take_tasks(0);
  // On a loaded machine a worker may not be on a core: let it have ours.
  for (int spins = 0; num_busy_.load(std::memory_order_acquire) > 0; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::work(int thread) {
  std::uint64_t seen = 0;
  for (;;) {
    int spins = 0;
    while (generation_.load(std::memory_order_acquire) == seen && spins < kSpins) {
      pause();
      ++spins;
    }
    if (generation_.load() == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      num_sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return generation_.load() != seen; });
      num_sleeping_.fetch_sub(1);
    }
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    take_tasks(thread);
    num_busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace tokenfuse
