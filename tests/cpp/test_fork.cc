// A forked process: the pool starts workers of its own, and a mutex that was held is free.
#include <sys/wait.h>

#include <condition_variable>
#include <memory>
#include <vector>

#include "check.h"
#include "core/fork.h"
#include "core/thread_pool.h"

namespace tokenfuse::test {
namespace {

// True where `body` returns true in a forked process. The answer comes through a pipe: the exit
// status is not ours where a tool that watches the process has its own opinion.
template <typename Body>
bool in_child(Body body) {
  int ends[2];
  if (pipe(ends) != 0) return false;
  const pid_t child = fork();
  if (child == 0) {
    // A child that waits for ever fails the test and does not stop it.
    alarm(60);
    const char answer = body() ? 'y' : 'n';
    const ssize_t written = write(ends[1], &answer, 1);
    _exit(written == 1 ? 0 : 1);
  }
  close(ends[1]);
  char answer = '-';
  const bool came = read(ends[0], &answer, 1) == 1;
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return came && answer == 'y';
}

// AddressSanitizer (GCC 12) does not free its allocator's lock in a forked process, and a thread
// that starts takes it. A first loop is over when all workers have started.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kForksWhileStarting = false;
#else
constexpr bool kForksWhileStarting = true;
#endif

bool runs(ThreadPool& pool) {
  std::vector<int> times(100, 0);
  for (int loop = 0; loop < 20; ++loop) {
    pool.parallel_for(100,
                      [&](std::int64_t task, int) { ++times[static_cast<std::size_t>(task)]; });
  }
  for (const int count : times) {
    if (count != 20) return false;
  }
  return true;
}

void check_pool() {
  for (const int num_threads : {1, 2, 4}) {
    for (const bool used_before : {false, true}) {
      set_case("%d threads, used before %d", num_threads, used_before);
      ThreadPool pool(num_threads);
      if (used_before || !kForksWhileStarting) CHECK(runs(pool));
      CHECK(in_child([&] { return runs(pool) && pool.num_threads() == num_threads; }));
      // A child of the child.
      CHECK(in_child([&] { return runs(pool) && in_child([&] { return runs(pool); }); }));
      CHECK(in_child([] { return true; }));
      CHECK(runs(pool));
    }
  }
  set_case("a pool that ends in the child, unused");
  auto pool = std::make_unique<ThreadPool>(3);
  if (!kForksWhileStarting) CHECK(runs(*pool));
  CHECK(in_child([&] {
    pool.reset();
    return true;
  }));
  CHECK(runs(*pool));
}

void check_mutex() {
  set_case("mutex");
  ForkSafeMutex mutex;
  std::mutex gate;
  std::condition_variable moved;
  bool held = false, done = false;
  std::thread holder([&] {
    const std::lock_guard<ForkSafeMutex> lock(mutex);
    std::unique_lock<std::mutex> waiting(gate);
    held = true;
    moved.notify_all();
    moved.wait(waiting, [&] { return done; });
  });
  {
    std::unique_lock<std::mutex> waiting(gate);
    moved.wait(waiting, [&] { return held; });
  }
  CHECK(in_child([&] {
    // Many at once: one of them makes it new, and still only one at a time is inside.
    int inside = 0, sum = 0;
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller) {
      callers.emplace_back([&] {
        for (int i = 0; i < 50; ++i) {
          const std::lock_guard<ForkSafeMutex> lock(mutex);
          sum += ++inside == 1 ? 1 : 1000000;
          --inside;
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    return sum == 200;
  }));
  {
    const std::lock_guard<std::mutex> lock(gate);
    done = true;
  }
  moved.notify_all();
  holder.join();
  const std::lock_guard<ForkSafeMutex> lock(mutex);
  CHECK(true);
}

}  // namespace
}  // namespace tokenfuse::test

int main() {
  tokenfuse::test::check_pool();
  tokenfuse::test::check_mutex();
  return tokenfuse::test::finish("fork");
}
