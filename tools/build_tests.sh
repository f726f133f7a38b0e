# What check_cpp.sh and check_cuda.sh share. Reads $folder, $jobs and the array $options.
# shellcheck shell=bash disable=SC2154
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
