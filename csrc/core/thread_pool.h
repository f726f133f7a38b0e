// Persistent workers for short parallel loops.
//
// The caller takes part. Workers spin briefly between loops, since the next one
// of a model comes within microseconds, and then sleep, so that an idle process
// costs nothing.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
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

  int num_threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // Calls function(context, task, thread) once for each task in [0, num_tasks);
  // `thread` is below num_threads(). Returns when all are done. One caller at a time.
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
  void work(int thread);
  void take_tasks(int thread) noexcept;

  std::vector<std::thread> workers_;
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<std::int64_t> next_task_{0};
  std::atomic<int> num_busy_{0};
  std::int64_t num_tasks_ = 0;
  Function function_ = nullptr;
  void* context_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<int> num_sleeping_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace tokenfuse
