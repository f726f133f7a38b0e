# What check_cpp.sh and check_cuda.sh share, the folders of the builds included: what one has
# compiled, the other need not. Reads the array $options.
# shellcheck shell=bash disable=SC2154
jobs="${JOBS:-2}"
folder="${CHECK_CPP_FOLDER:-build/check_cpp}"
generator=()
if command -v ninja > /dev/null; then generator=(-G Ninja); fi

# build NAME SANITIZERS FLAGS TARGET...: into $folder/NAME.
build() {
  local name="$1" sanitizers="$2" flags="$3"
  shift 3
  echo "== $name: build"
  cmake -S . -B "$folder/$name" "${generator[@]}" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="$flags" -DTOKENFUSE_BUILD_TESTS=ON \
    -DTOKENFUSE_BUILD_PYTHON=OFF -DTOKENFUSE_SANITIZE="$sanitizers" "${options[@]}" > /dev/null
  # Quiet, so that what ran stays in sight: warnings, or all of it where it fails.
  local log="$folder/$name/build.log"
  if ! cmake --build "$folder/$name" -j "$jobs" --target "$@" > "$log" 2>&1; then
    cat "$log" >&2
    return 1
  fi
  grep -A 6 'warning:' "$log" >&2 || true
}

# Assertions are in here: no NDEBUG.
build_sanitized() {
  build sanitize address,undefined,float-cast-overflow "-O2 -g" "$@"
}

# run_sanitized USE_AFTER_RETURN ARGUMENTS_OF_CTEST...: that is 1 or 0.
run_sanitized() {
  local use_after_return="$1"
  shift
  echo "== sanitize: run"
  UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    ASAN_OPTIONS=strict_init_order=1:detect_stack_use_after_return="$use_after_return" \
    ctest --test-dir "$folder/sanitize" --output-on-failure -j "$jobs" "$@"
}

build_plain() {
  build plain "" "-O2 -g -DNDEBUG" "$@"
}
