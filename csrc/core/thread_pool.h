// Persistent workers for short parallel loops.
//
// The caller takes part. Workers spin briefly between loops, since the next one
// of a model comes within microseconds, and then sleep, so that an idle process
// costs nothing.
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
  // The threads, and all that they share with the caller.
  struct Workers {
    explicit Workers(int count);
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    void work(int thread);
    void take_tasks(int thread) noexcept;
    void stop() noexcept;

    std::vector<std::thread> threads;
    std::atomic<std::uint64_t> generation{0};
    std::atomic<std::int64_t> next_task{0};
    std::atomic<int> num_busy{0};
    std::int64_t num_tasks = 0;
    Function function = nullptr;
    void* context = nullptr;
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
