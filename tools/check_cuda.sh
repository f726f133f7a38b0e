#!/usr/bin/env bash
# Check the CUDA engine without a GPU: its C++ tests on the emulator, under the sanitizers; the
# Python tests of tests/gpu on the same emulator, optimised, where tokenfuse is installed with
# what tests need, and pybind11; then, where nvcc is on the PATH, the build for three architectures,
# no kernel of which may spill registers. Needs cmake and a C++17 compiler; ninja where it is there.
# JOBS: 2 unless set.
set -euo pipefail
cd "$(dirname "$0")/.."
options=(-DTOKENFUSE_BUILD_CUDA_TESTS=ON -DTOKENFUSE_CUDA=OFF)
# shellcheck source=tools/build_tests.sh
source tools/build_tests.sh

build_sanitized tokenfuse_cuda_tests
# Use after return costs each of the emulator's fibers a second stack of 11 MB.
run_sanitized 0 -R '_cuda$'

echo "== python: build and run"
# From another folder: this one has the sources, which are not compiled.
if lacks="$(cd / && python3 -c 'import numpy, pytest, torch, sklearn, pybind11
import tokenfuse_training, tokenfuse_sdk._native' 2>&1)"; then
  options+=(-DTOKENFUSE_BUILD_PYTHON=ON "-DPython_EXECUTABLE=$(command -v python3)"
    "-Dpybind11_DIR=$(python3 -m pybind11 --cmakedir)")
  build_plain _cuda_emulated
  TOKENFUSE_CUDA_EMULATED="$(cd "$folder/plain/tests/cpp/cuda" && pwd)" pytest tests/gpu -k emulated
else
  echo "check_cuda: tests/gpu is not run: ${lacks##*$'\n'}" >&2
fi

if ! command -v nvcc > /dev/null; then
  echo "check_cuda: no nvcc: nothing was compiled for a GPU; the emulated tests are clean" >&2
  exit 0
fi
echo "== nvcc: build"
# Without ninja one job: the reports of two would be mixed.
if [ "${#generator[@]}" -eq 0 ]; then jobs=1; fi
# The A100's, the Orin's and the H100's: what there is the least room for registers on, and the
# machines that people have.
cmake -S . -B "$folder/nvcc" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release \
  -DTOKENFUSE_BUILD_PYTHON=OFF -DTOKENFUSE_CUDA=ON \
  "-DTOKENFUSE_CUDA_ARCHITECTURES=80-real;87-real;90-real" -DCMAKE_CXX_FLAGS=-Werror \
  "-DCMAKE_CUDA_FLAGS=-Xcompiler=-Werror -Xptxas=-v,-warn-spills" > /dev/null
log="$folder/nvcc/build.log"
# From nothing: only what is compiled is reported.
if ! cmake --build "$folder/nvcc" -j "$jobs" --clean-first --target tokenfuse_cuda \
  > "$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
python3 tools/cuda_report.py "$log"
echo "check_cuda: clean"
