#!/usr/bin/env bash
# Build the C++ tests with address and undefined-behaviour sanitizers and run them;
# then, where valgrind is installed, a plain build under valgrind.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs="${JOBS:-2}"

cmake -S . -B build/sanitize -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DTOKENFUSE_BUILD_TESTS=ON -DTOKENFUSE_BUILD_PYTHON=OFF \
  -DTOKENFUSE_SANITIZE=address,undefined
cmake --build build/sanitize -j "$jobs"
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ctest --test-dir build/sanitize --output-on-failure

if command -v valgrind > /dev/null; then
  cmake -S . -B build/valgrind -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DTOKENFUSE_BUILD_TESTS=ON -DTOKENFUSE_BUILD_PYTHON=OFF
  cmake --build build/valgrind -j "$jobs"
  # Valgrind does not know AVX-512.
  for program in build/valgrind/tests/cpp/test_*; do
    [ -x "$program" ] && [ -f "$program" ] || continue
    echo "valgrind $program"
    TOKENFUSE_FORCE_ISA=avx2 valgrind --quiet --error-exitcode=1 --leak-check=full "$program"
  done
else
  echo "valgrind is not installed: that half was not run" >&2
fi
