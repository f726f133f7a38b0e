#!/usr/bin/env bash
# All that a GPU must show, in one go: build, self check, tests, sanitizers, benchmarks.
#
#   benchmarks/gpu_gate.sh FOLDER              on a machine with a GPU
#   benchmarks/gpu_gate.sh FOLDER --emulated   the same parts on the emulator, whose times say nothing
#
# For a bare machine without network: nvcc, cmake, a C++17 compiler, and a Python with PyTorch (which
# brings NumPy). pybind11 is taken from PYBIND11_DIR, from its package, or from PyTorch's headers; ninja
# and all other packages may be missing, and then it says which parts are left out for it.
#
# FOLDER gets the benchmarks' JSON, summary.txt, parts.txt and logs. Each part has its own limit, and a
# part that fails loses nothing of the others. Exit code 1: one failed. PYTHON: python3 unless set.
# GATE_SECONDS: 570 unless set, for all parts. GATE_BUILD: where it is built, build/gpu_gate unless set;
# a second run there builds what has changed, and has the time for more of the last parts.
# GATE_PARTS: names of the parts behind the self check that run; all unless set.
set -uo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ] || { [ $# -eq 2 ] && [ "$2" != --emulated ]; }; then
  echo "usage: $0 FOLDER [--emulated]" >&2
  exit 2
fi
repo="$(cd "$(dirname "$0")/.." && pwd)"
mkdir -p "$1/logs"
out="$(cd "$1" && pwd)"
emulated="${2:-}"
build="${GATE_BUILD:-$repo/build/gpu_gate}"
mkdir -p "$build"
build="$(cd "$build" && pwd)"
python="${PYTHON:-python3}"
deadline=$((SECONDS + ${GATE_SECONDS:-570}))
failed=0
: > "$out/parts.txt"

record() { printf '%-22s%-34s%6s s\n' "$1" "$2" "$3" | tee -a "$out/parts.txt"; }

# part NAME SECONDS COMMAND...: in $out/logs/NAME.log. With may_be_cut=1 running out of time is no
# failure.
part() {
  local name="$1" limit="$2" left=$((deadline - SECONDS)) began=$SECONDS code=0
  shift 2
  if [ "$left" -lt 5 ]; then
    record "$name" "not run: no time left" 0
    if [ -n "${may_be_cut:-}" ]; then return 0; fi
    failed=1
    return 1
  fi
  if [ "$limit" -gt "$left" ]; then limit=$left; fi
  timeout -k 10 "$limit" "$@" > "$out/logs/$name.log" 2>&1 || code=$?
  case $code in
    0) record "$name" ok $((SECONDS - began)) && return 0 ;;
    124 | 137)
      if [ -n "${may_be_cut:-}" ]; then
        record "$name" "cut off after $limit s" $((SECONDS - began))
        return 0
      fi
      record "$name" "FAILED: more than $limit s" $((SECONDS - began))
      ;;
    *) record "$name" "FAILED: exit code $code" $((SECONDS - began)) ;;
  esac
  failed=1
  tail -n 15 "$out/logs/$name.log" | sed 's/^/    /'
  return 1
}

chosen_part() {
  case " ${GATE_PARTS:-$1} " in
    *" $1 "*) part "$@" ;;
  esac
}

has() { "$python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1]) is None)' "$1"; }

# with_packages NAME "PACKAGES" ...: the part, or why it is left out.
with_packages() {
  local name="$1" package lacking=""
  for package in $2; do
    has "$package" || lacking="$lacking $package"
  done
  shift 2
  if [ -n "$lacking" ]; then
    record "$name" "left out: no$lacking" 0
    return 0
  fi
  chosen_part "$name" "$@"
}

finish() {
  "$python" "$repo/benchmarks/cuda/summary.py" "$out" > "$out/summary.txt" 2>&1
  cat "$out/summary.txt"
  echo
  cat "$out/parts.txt"
  exit "$failed"
}

if ! has torch || ! has numpy; then
  echo "gpu_gate: $python has no torch and numpy; set PYTHON to one that has" >&2
  exit 2
fi
# shellcheck disable=SC2329 # by part
machine() {
  date -u
  nvidia-smi
  nvcc --version || /usr/local/cuda/bin/nvcc --version
  cmake --version
  "$python" -VV
  "$python" -c 'import torch as t; print("torch", t.__version__, t.version.cuda, t.cuda.is_available())'
  for package in numpy pytest safetensors tokenizers PIL sklearn; do
    has "$package" || echo "no $package"
  done
}
export -f has machine
export python
part machine 40 bash -c machine

# 1. The modules, with an overlay of the package as what is imported.
options=(-DCMAKE_BUILD_TYPE=Release "-DPython_EXECUTABLE=$("$python" -c 'import sys; print(sys.executable)')")
if command -v ninja > /dev/null; then options+=(-G Ninja); fi
if [ -n "${PYBIND11_DIR:-}" ]; then
  options+=("-Dpybind11_DIR=$PYBIND11_DIR")
elif has pybind11; then
  options+=("-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir)")
else
  headers="$("$python" -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "include"))')"
  options+=("-Dpybind11_DIR=$repo/benchmarks/cuda/pybind11" "-DTOKENFUSE_PYBIND11_INCLUDE=$headers")
fi
if [ -n "$emulated" ]; then
  module=_cuda_emulated
  options+=(-DTOKENFUSE_CUDA=OFF -DTOKENFUSE_BUILD_TESTS=ON)
  export TOKENFUSE_CUDA_EMULATED="$build/cmake/tests/cpp/cuda"
else
  module=_cuda
  options+=(-DTOKENFUSE_CUDA=AUTO)
fi
part configure 60 cmake -S "$repo" -B "$build/cmake" "${options[@]}" || finish
# For which GPU, or why for none.
sed -n 's/^-- CUDA: /    CUDA: /p' "$out/logs/configure.log"
part build "${GATE_BUILD_SECONDS:-270}" cmake --build "$build/cmake" -j "${JOBS:-$(nproc)}" \
  --target _native "$module" || finish
# shellcheck disable=SC2329 # by part
overlay() {
  rm -rf "$build/overlay"
  mkdir -p "$build/overlay"
  cp -r "$repo/tokenfuse_sdk" "$build/overlay/"
  cp "$build"/cmake/_native*.so "$build/overlay/tokenfuse_sdk/" || return 1
  [ -n "$emulated" ] || cp "$build"/cmake/_cuda*.so "$build/overlay/tokenfuse_sdk/"
}
export -f overlay
export build repo emulated
part overlay 30 bash -c overlay || finish
export PYTHONPATH="$build/overlay:$repo/training:$repo/export"
# Else the checkout's own package, which has no modules, would come first.
cd "$build" || exit 2

# 2. Whether it works. Without that, times would be of something else.
part self_check 40 "$python" "$repo/benchmarks/cuda/self_check.py" ${emulated:+"$emulated"} || finish

# 3. Benchmarks: a few of all first, in case the time runs out.
bench=("$python" "$repo/benchmarks/bench_cuda.py")
answers="PIL tokenizers safetensors"
if [ -n "$emulated" ]; then
  chosen_part merge_dry 90 "${bench[@]}" merge_attention --dry-run --json "$out/merge_dry.json"
  with_packages answer_dry "$answers" 120 "${bench[@]}" answer --model nano --batch 1 \
    --precision fp16 --dry-run --json "$out/answer_dry.json"
else
  chosen_part merge_quick 60 "${bench[@]}" merge_attention --quick --json "$out/merge_quick.json"
  with_packages tiny_quick "$answers" 60 "${bench[@]}" answer --model tiny --quick \
    --json "$out/tiny_quick.json"
  with_packages nano_quick "$answers sklearn" 60 "${bench[@]}" answer --model scenes-nano --quick \
    --json "$out/nano_quick.json"
fi

# 4. The tests, and the small model under the sanitizers.
if [ -d "$repo/tests/gpu" ]; then
  # The emulator takes minutes.
  with_packages tests_gpu "pytest $answers" "$([ -n "$emulated" ] && echo 600 || echo 150)" "$python" -m pytest -c "$repo/pyproject.toml" \
    --rootdir "$repo" -p no:cacheprovider -rs --ignore "$repo/tests/gpu/test_tensorrt_backend.py" "$repo/tests/gpu"
  # Builds engines first. What TensorRT says of this GPU is worth a line, also where it refuses.
  if [ -z "$emulated" ]; then
    with_packages tests_tensorrt "pytest $answers onnx onnxscript cuda.bindings.runtime" 200 "$python" -m pytest \
      -c "$repo/pyproject.toml" --rootdir "$repo" -p no:cacheprovider -rs -s "$repo/tests/gpu/test_tensorrt_backend.py"
    grep -hE "TensorRT says|^SKIPPED" "$out/logs/tests_tensorrt.log" 2> /dev/null | sort -u | sed 's/^/    /'
  fi
else
  record tests_gpu "left out: no tests/gpu" 0
fi
sanitizer="$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2> /dev/null)"
for tool in memcheck racecheck synccheck; do
  if [ -n "$emulated" ] || [ -z "$sanitizer" ]; then
    record "$tool" "left out: no compute-sanitizer" 0
    continue
  fi
  # Some virtual machines let no sanitizer at the device: that is no finding.
  # shellcheck disable=SC2016
  chosen_part "$tool" 40 bash -c '"$@" || { code=$?; grep -q "Device not supported" "$0" && exit 0; exit $code; }' \
    "$out/logs/$tool.log" "$sanitizer" --tool "$tool" --error-exitcode 9 \
    "$python" "$repo/benchmarks/cuda/self_check.py"
done

# 5. The rows that matter most in full, until the time is up: what is written by then stays.
if [ -z "$emulated" ]; then
  may_be_cut=1
  # Compiled code is kept for a second run.
  export TORCHINDUCTOR_CACHE_DIR="$build/inductor"
  with_packages tiny_compiled "$answers" 200 "${bench[@]}" answer --model tiny --batch 1 \
    --precision bf16 --compile-seconds 160 --json "$out/tiny_compiled.json"
  chosen_part merge_full 100 "${bench[@]}" merge_attention --compile-seconds 0 \
    --json "$out/merge_full.json"
  with_packages base_quick "$answers" 60 "${bench[@]}" answer --model base --batch 1,8 --quick \
    --json "$out/base_quick.json"
  with_packages tiny_full "$answers" 400 "${bench[@]}" answer --model tiny --compile-seconds 200 \
    --json "$out/tiny_full.json"
fi
finish
