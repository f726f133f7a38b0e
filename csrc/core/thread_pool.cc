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

// In the place of a task: there is none to take.
constexpr std::uint32_t kNoTask = 0xFFFFFFFFu;

constexpr std::uint64_t ticket_of(std::uint32_t loop, std::uint32_t task) noexcept {
  return (std::uint64_t{loop} << 32) | task;
}
constexpr std::uint32_t loop_of(std::uint64_t ticket) noexcept {
  return static_cast<std::uint32_t>(ticket >> 32);
}
constexpr std::int64_t task_of(std::uint64_t ticket) noexcept {
  return static_cast<std::int64_t>(ticket & kNoTask);
}

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

ThreadPool::Workers::Workers(int count) : ticket(kNoTask) {
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

std::uint32_t ThreadPool::Workers::loop() const noexcept { return loop_of(ticket.load()); }

void ThreadPool::Workers::stop() noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex);
    stopped.store(true);
    ticket.store(ticket_of(loop() + 1, kNoTask));
  }
  wake.notify_all();
  for (std::thread& thread : threads) thread.join();
}

void ThreadPool::Workers::start(std::int64_t count, Function body, void* with) noexcept {
  const std::uint32_t last = loop();
  // Closed while the rest changes. A late worker that reads any of it (these stores are releases,
  // its loads acquires) finds the ticket changed when it comes to take a task.
  ticket.store(ticket_of(last, kNoTask));
  num_tasks.store(count, std::memory_order_release);
  function.store(body, std::memory_order_release);
  context.store(with, std::memory_order_release);
  num_done.store(0, std::memory_order_release);
  // Sequentially consistent with the sleeper's counter: either it sees the new loop, or we see it
  // asleep.
  ticket.store(ticket_of(last + 1, 0));
  if (num_sleeping.load() > 0) {
    {
      std::lock_guard<std::mutex> lock(mutex);
    }
    wake.notify_all();
  }
}

// Does tasks of this loop until there are none, and says how many.
std::int64_t ThreadPool::Workers::take_tasks(std::uint32_t of_loop, int thread) noexcept {
  std::int64_t count = 0;
  std::uint64_t now = ticket.load(std::memory_order_acquire);
  while (loop_of(now) == of_loop) {
    const std::int64_t task = task_of(now);
    const Function body = function.load(std::memory_order_acquire);
    void* with = context.load(std::memory_order_acquire);
    if (task >= num_tasks.load(std::memory_order_acquire)) break;
    if (!ticket.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire)) {
      continue;
    }
    body(with, task, thread);
    ++count;
    if (thread != 0) num_done.fetch_add(1, std::memory_order_release);
    now = ticket.load(std::memory_order_acquire);
  }
  return count;
}

void ThreadPool::Workers::wait_for(std::int64_t count) const noexcept {
  // On a loaded machine a worker may not be on a core: let it have ours.
  for (int spins = 0; num_done.load(std::memory_order_acquire) < count; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadPool::Workers::work(int thread) {
  std::uint32_t seen = 0;
  for (;;) {
    for (int spins = 0; loop() == seen && spins < kSpins; ++spins) pause();
    if (loop() == seen) {
      std::unique_lock<std::mutex> lock(mutex);
      num_sleeping.fetch_add(1);
      wake.wait(lock, [&] { return loop() != seen; });
      num_sleeping.fetch_sub(1);
    }
    seen = loop();
    if (stopped.load()) return;
    take_tasks(seen, thread);
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
  workers_->start(num_tasks, function, context);
  const std::int64_t own = workers_->take_tasks(workers_->loop(), 0);
  workers_->wait_for(num_tasks - own);
}

}  // namespace tokenfuse
