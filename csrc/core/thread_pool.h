// Persistent workers for short parallel loops.
//
// The caller takes part. Workers spin briefly between loops, since the next one
// of a model comes within microseconds, and then sleep, so that an idle process
// costs nothing. A loop waits for its tasks, not for its workers: one that sleeps,
// or that the system keeps from its core, is waited for only if it took a task.
//
// Threads do not live on in a forked process, and a lock that one of them held stays locked
// there. So the first loop in such a process leaves all of the old workers behind, locks
// included, and starts new ones.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace tokenfuse {

// Threads this process may use: CPU affinity, limited by the cgroup's CPU quota.
int default_num_threads() noexcept;

class ThreadPool {
 public:
  using Function = void (*)(void* context, std::int64_t task, int thread);

  // `num_threads` counts the caller. Throws std::system_error where the system
  // refuses a thread.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const noexcept { return num_threads_; }

  // Calls function(context, task, thread) once for each task in [0, num_tasks);
  // `thread` is below num_threads(). Returns when all are done. One caller at a time, and fewer
  // than 2^32 - 1 tasks.
  void run(std::int64_t num_tasks, Function function, void* context) noexcept;

  // The same for a callable `body(task, thread)`.
  template <typename Body>
  void parallel_for(std::int64_t num_tasks, Body&& body) noexcept {
    run(
        num_tasks,
        [](void* context, std::int64_t task, int thread) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(task, thread);
        },
        &body);
  }

 private:
  // The threads, and all that they share with the caller.
  struct Workers {
    explicit Workers(int count);
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    void work(int thread);
    std::int64_t take_tasks(std::uint32_t loop, int thread) noexcept;
    void start(std::int64_t count, Function body, void* with) noexcept;
    void wait_for(std::int64_t count) const noexcept;
    void stop() noexcept;
    std::uint32_t loop() const noexcept;

    std::vector<std::thread> threads;
    // The number of the loop in the upper half, its next task in the lower: a task is taken by
    // raising it, so nobody takes one of a loop that is over.
    std::atomic<std::uint64_t> ticket;
    std::atomic<std::int64_t> num_tasks{0};
    std::atomic<std::int64_t> num_done{0};  // by workers
    std::atomic<Function> function{nullptr};
    std::atomic<void*> context{nullptr};
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<int> num_sleeping{0};
    std::atomic<bool> stopped{false};
  };

  bool leave_behind() noexcept;

  int num_threads_;
  long process_;
  std::unique_ptr<Workers> workers_;
};

}  // namespace tokenfuse
