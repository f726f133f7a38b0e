#!/usr/bin/env bash
# Build the C++ tests and run them three times: under the address and undefined-behaviour
# sanitizers, under valgrind where it is installed, and, for what has threads, under the thread
# sanitizer. Those of the CUDA engine have check_cuda.sh. Needs cmake and a C++17 compiler; ninja
# where it is there. JOBS: 2 unless set.
set -euo pipefail
cd "$(dirname "$0")/.."
threaded='test_thread_pool|test_cpu_engine|test_cpu_engine_calls'

options=(-DTOKENFUSE_BUILD_CUDA_TESTS=OFF -DTOKENFUSE_CUDA=OFF)
# shellcheck source=tools/build_tests.sh
source tools/build_tests.sh

build_sanitized all
run_sanitized 1

IFS='|' read -r -a threaded_targets <<< "$threaded"
build thread thread "-O2 -g -DNDEBUG" "${threaded_targets[@]}"
echo "== thread: run"
# Where addresses are too random for the thread sanitizer, it says so and stops.
fixed=()
if setarch "$(uname -m)" -R true 2> /dev/null; then fixed=(setarch "$(uname -m)" -R); fi
TSAN_OPTIONS=halt_on_error=1 "${fixed[@]}" \
  ctest --test-dir "$folder/thread" --output-on-failure -R "^($threaded)\$"

build_plain all
if command -v valgrind > /dev/null; then
  echo "== plain: run under valgrind"
  # It shows programs a CPU without AVX-512, so that variant is not run here. Fair: a thread
  # that waits must not keep the others from running. Silent children: a forked process leaves
  # its parent's workers behind, which is no leak of the parent.
  find "$folder/plain/tests/cpp" -maxdepth 1 -type f -name 'test_*' -perm -u+x -print0 | sort -z |
    xargs -0 -n 1 -P "$jobs" \
      valgrind --quiet --error-exitcode=1 --leak-check=full --fair-sched=try \
      --child-silent-after-fork=yes
else
  echo "valgrind is not installed: the tests run without it" >&2
  ctest --test-dir "$folder/plain" --output-on-failure -j "$jobs"
fi
echo "check_cpp: clean"
