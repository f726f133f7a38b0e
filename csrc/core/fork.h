// What a forked process must not take over from the one it came from.
#pragma once

#include <unistd.h>

#include <atomic>
#include <mutex>
#include <new>
#include <thread>

namespace tokenfuse {

// A number that is another one after a fork.
inline long this_process() noexcept { return static_cast<long>(getpid()); }

// A mutex that is free in a forked process, whoever held it when the process was forked: the
// thread that would unlock it is not there. For std::lock_guard.
class ForkSafeMutex {
 public:
  void lock() {
    if (process_.load(std::memory_order_acquire) != this_process()) renew();
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }

 private:
  // One thread makes a new mutex in place of the old one, the others wait for it.
  void renew() noexcept {
    const long here = this_process();
    long seen = process_.load(std::memory_order_acquire);
    while (seen != here) {
      if (seen == -here) {
        std::this_thread::yield();
        seen = process_.load(std::memory_order_acquire);
      } else if (process_.compare_exchange_weak(seen, -here, std::memory_order_acq_rel)) {
        new (&mutex_) std::mutex();
        process_.store(here, std::memory_order_release);
        return;
      }
    }
  }

  std::mutex mutex_;
  // Whose mutex it is; negative while that process makes it.
  std::atomic<long> process_{this_process()};
};

}  // namespace tokenfuse
