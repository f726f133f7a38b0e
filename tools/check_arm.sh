#!/usr/bin/env bash
# Cross-compile the C++ tests for Arm64 and run them under emulation, on the two kinds of CPU that
# the integer kernels tell apart: with dot products alone, as the Jetson Orin's Cortex-A78AE, and
# with i8mm. Needs aarch64-linux-gnu-g++ and qemu-aarch64 (Debian: g++-aarch64-linux-gnu and
# qemu-user-static); where they are not installed, it says so and leaves. JOBS: 2 unless set.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs="${JOBS:-2}"
folder="${CHECK_ARM_FOLDER:-build/check_arm}"
qemu="$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)"
if ! command -v aarch64-linux-gnu-g++ > /dev/null || [ -z "$qemu" ]; then
  echo "check_arm: no aarch64-linux-gnu-g++ or no qemu-aarch64: Arm was not tested" >&2
  exit 0
fi
# The emulator finds the Arm libraries beside those that the compiler links. Not linked statically:
# a test stands before the C library's pthread_create.
libc="$(aarch64-linux-gnu-g++ -print-file-name=libc.so.6)"
QEMU_LD_PREFIX="$(cd "$(dirname "$libc")/.." && pwd)"
export QEMU_LD_PREFIX
generator=()
if command -v ninja > /dev/null; then generator=(-G Ninja); fi
cmake -S . -B "$folder" "${generator[@]}" -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
  -DCMAKE_BUILD_TYPE=Release -DTOKENFUSE_BUILD_TESTS=ON \
  -DTOKENFUSE_BUILD_PYTHON=OFF -DTOKENFUSE_CUDA=OFF \
  -DTOKENFUSE_BUILD_CUDA_TESTS=OFF > /dev/null
log="$folder/build.log"
if ! cmake --build "$folder" -j "$jobs" > "$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
grep -A 6 'warning:' "$log" >&2 || true

# run CPU BEST: all tests on the CPU model, which must run BEST and what is below.
run() {
  echo "== Arm64: $1"
  find "$folder/tests/cpp" -maxdepth 1 -type f -name 'test_*' -perm -u+x -print0 | sort -z |
    TOKENFUSE_EXPECT_ISA="$2" xargs -0 -n 1 -P "$jobs" "$qemu" -cpu "$1"
}
run cortex-a53 neon
run neoverse-n1 neon_dotprod
run max,sve=off,sme=off neon_i8mm
echo "check_arm: clean"
