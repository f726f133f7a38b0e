// Runs a launch under every schedule of the emulator, and compares bits: a barrier that is missing
// shows as a difference.
#pragma once

#include <cstring>
#include <vector>

#include "check.h"
#include "core/cuda/emulator.h"

namespace tokenfuse::test {

inline const std::vector<cuda::emulator::Schedule>& schedules() {
  using Order = cuda::emulator::Schedule::Order;
  static const std::vector<cuda::emulator::Schedule> all = {{Order::kForward, true, 1},
                                                            {Order::kForward, false, 1},
                                                            {Order::kBackward, true, 1},
                                                            {Order::kShuffled, true, 3},
                                                            {Order::kShuffled, false, 4}};
  return all;
}

// `run` launches; `bytes_of` gives what was written, as a std::vector<unsigned char>.
template <typename Run, typename BytesOf>
void run_schedules(Run run, BytesOf bytes_of) {
  cuda::emulator::reset_counts();
  std::vector<unsigned char> first;
  bool same = true;
  for (const auto& schedule : schedules()) {
    cuda::emulator::set_schedule(schedule);
    run();
    const std::vector<unsigned char> bytes = bytes_of();
    if (first.empty()) first = bytes;
    same = same && bytes == first;
  }
  cuda::emulator::set_schedule({});
  check(same, "every schedule gives the same bits", __FILE__, __LINE__);
  check(cuda::emulator::counts().bank_conflicts == 0, "no bank conflicts", __FILE__, __LINE__);
}

}  // namespace tokenfuse::test
