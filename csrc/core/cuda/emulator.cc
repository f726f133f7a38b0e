#include "core/cuda/emulator.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <vector>

#include "core/cuda/emulated_warp.h"
#include "core/cuda/fiber.h"

namespace tokenfuse::cuda::emulator {
namespace {

constexpr int kMaxThreads = 1024;
// Of all banks: conflicts are counted by address.
constexpr std::align_val_t kSharedAlignment{128};

void free_shared(unsigned char* bytes) { ::operator delete(bytes, kSharedAlignment); }

struct Copy {
  void* shared;
  const void* global;
  bool valid;
};

struct Lane {
  enum class State { kReady, kAtWarp, kAtBlock, kDone };
  Fiber fiber;
  State state;
  Op op;
  void* args;
  Place place;
  // Groups of copies that are on their way, the last of them still open.
  std::deque<std::vector<Copy>> copies;
};

struct Block {
  std::vector<Lane> lanes;
  std::unique_ptr<unsigned char[]> stacks;
  // Exactly as large as the launch says, so that the address sanitizer sees its end.
  std::unique_ptr<unsigned char, void (*)(unsigned char*)> shared{nullptr, free_shared};
  Lane* running = nullptr;
  const KernelCall* call = nullptr;
  std::string error;
};

std::mutex turn;  // one launch at a time
Schedule schedule;
Counts counted{};
Block block;

[[noreturn]] void stop_lane() {
  block.running->state = Lane::State::kDone;
  for (;;) block.running->fiber.leave();
}

// From within a lane: the launch fails.
// Does not take a string: nobody would free it on a stack that is left.
[[noreturn]] void fail(const char* what) {
  if (block.error.empty()) {
    const Place& at = block.running->place;
    block.error = std::string(what) + " (thread " + std::to_string(at.thread) + " of block " +
                  std::to_string(at.block[0]) + ", " + std::to_string(at.block[1]) + ", " +
                  std::to_string(at.block[2]) + ")";
  }
  stop_lane();
}

bool aligned(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % 16 == 0; }

void finish(const Copy& copy) {
  if (copy.valid) {
    std::memcpy(copy.shared, copy.global, 16);
  } else {
    std::memset(copy.shared, 0, 16);
  }
}

void finish_copies(Lane& lane, std::size_t groups) {
  while (lane.copies.size() > groups) {
    if (schedule.late_copies) {
      for (const Copy& copy : lane.copies.front()) finish(copy);
    }
    lane.copies.pop_front();
  }
}

void lane_main(void*) {
  block.call->run(block.call->kernel, block.call->argument);
  for (const auto& group : block.running->copies) {
    if (!group.empty()) fail("a copy in the background is not waited for");
  }
  stop_lane();
}

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed * 2 + 1) {}
  std::uint64_t below(std::uint64_t limit) noexcept {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % limit;
  }

 private:
  std::uint64_t state_;
};

// The order of `count` things, by the schedule.
void arrange(std::vector<int>& order, int count, Random& random) {
  order.resize(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (schedule.order == Schedule::Order::kBackward) std::reverse(order.begin(), order.end());
  if (schedule.order != Schedule::Order::kShuffled) return;
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
}

// Runs a warp until its lanes are at the block's barrier or done. Returns false where it failed.
bool run_warp(Lane* lanes, Random& random, std::vector<int>& order) {
  for (;;) {
    arrange(order, kWarpSize, random);
    for (const int i : order) {
      if (lanes[i].state != Lane::State::kReady) continue;
      block.running = &lanes[i];
      lanes[i].fiber.enter();
      if (!block.error.empty()) return false;
    }
    for (int i = 1; i < kWarpSize; ++i) {
      if (lanes[i].state != lanes[0].state ||
          (lanes[i].state == Lane::State::kAtWarp && lanes[i].op != lanes[0].op)) {
        block.running = &lanes[i];
        block.error = "lanes of one warp do not meet in the same collective (thread " +
                      std::to_string(lanes[i].place.thread) + ")";
        return false;
      }
    }
    if (lanes[0].state != Lane::State::kAtWarp) return true;
    void* args[kWarpSize];
    for (int i = 0; i < kWarpSize; ++i) args[i] = lanes[i].args;
    do_collective(lanes[0].op, args, counted);
    for (int i = 0; i < kWarpSize; ++i) lanes[i].state = Lane::State::kReady;
  }
}

void run_block(int num_threads, Random& random) {
  const int num_warps = num_threads / kWarpSize;
  std::vector<int> warps, lanes;
  for (;;) {
    arrange(warps, num_warps, random);
    for (const int warp : warps) {
      if (!run_warp(&block.lanes[static_cast<std::size_t>(warp * kWarpSize)], random, lanes))
        return;
    }
    for (int i = 0; i < num_threads; ++i) {
      if (block.lanes[static_cast<std::size_t>(i)].state != block.lanes[0].state) {
        block.error = "some threads of a block wait at a barrier that others never reach";
        return;
      }
    }
    if (block.lanes[0].state == Lane::State::kDone) return;
    for (int i = 0; i < num_threads; ++i) {
      block.lanes[static_cast<std::size_t>(i)].state = Lane::State::kReady;
    }
  }
}

}  // namespace

const Place& place() noexcept { return block.running->place; }

void meet_warp(Op op, void* args) {
  Lane& lane = *block.running;
  if (op == Op::kLoadMatrices && !aligned(static_cast<LoadMatricesArgs*>(args)->row)) {
    fail("a row of a matrix is not 16-byte aligned");
  }
  lane.state = Lane::State::kAtWarp;
  lane.op = op;
  lane.args = args;
  lane.fiber.leave();
}

void meet_block() {
  block.running->state = Lane::State::kAtBlock;
  block.running->fiber.leave();
}

void copy_async(void* shared, const void* global, bool valid) {
  if (!aligned(shared) || (valid && !aligned(global))) {
    fail("a copy in the background is not 16-byte aligned");
  }
  counted.copied_bytes += valid ? 16 : 0;
  auto& copies = block.running->copies;
  if (copies.empty()) copies.emplace_back();
  // Either way it counts as on its way until it is waited for.
  if (!schedule.late_copies) finish({shared, global, valid});
  copies.back().push_back({shared, global, valid});
}

void copy_async_commit() {
  Lane& lane = *block.running;
  if (lane.copies.empty()) lane.copies.emplace_back();
  lane.copies.emplace_back();
}

void copy_async_wait(int groups) {
  // The open group behind the last commit is none of those that are waited for.
  finish_copies(*block.running, static_cast<std::size_t>(groups) + 1);
}

void set_schedule(const Schedule& next) noexcept { schedule = next; }
Counts counts() noexcept { return counted; }
void reset_counts() noexcept { counted = {}; }

void run(const KernelCall& call) {
  const std::lock_guard<std::mutex> lock(turn);
  check_call(call);
  const std::size_t most = device_info(0).shared_bytes_per_block;
  if (call.shared_bytes > most) {
    throw CudaError(call.name, std::to_string(call.shared_bytes) +
                                   " bytes of shared memory; the device has " +
                                   std::to_string(most));
  }
  ++counted.launches;
  const auto threads = static_cast<std::size_t>(call.num_threads);
  if (block.stacks == nullptr) {
    block.stacks.reset(new unsigned char[Fiber::kStackBytes * kMaxThreads]);
    block.lanes.resize(kMaxThreads);
  }
  block.shared.reset(
      static_cast<unsigned char*>(::operator new(call.shared_bytes, kSharedAlignment)));
  block.call = &call;
  block.error.clear();
  Random random(schedule.seed);
  const std::int64_t blocks = std::int64_t{call.grid.x} * call.grid.y * call.grid.z;
  std::vector<int> order;
  arrange(order, static_cast<int>(blocks), random);
  for (const int index : order) {
    std::memset(block.shared.get(), 0xff, call.shared_bytes);
    for (std::size_t i = 0; i < threads; ++i) {
      Lane& lane = block.lanes[i];
      lane.state = Lane::State::kReady;
      lane.copies.clear();
      lane.place = {static_cast<int>(i),
                    call.num_threads,
                    {index % call.grid.x, index / call.grid.x % call.grid.y,
                     index / call.grid.x / call.grid.y},
                    block.shared.get()};
      lane.fiber.prepare(block.stacks.get() + i * Fiber::kStackBytes, &lane_main, nullptr);
    }
    run_block(call.num_threads, random);
    if (!block.error.empty()) {
      for (std::size_t i = 0; i < threads; ++i) block.lanes[i].fiber.abandon();
      throw CudaError(call.name, block.error);
    }
  }
}

}  // namespace tokenfuse::cuda::emulator
