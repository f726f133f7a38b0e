#!/usr/bin/env bash
# On a machine with a GPU: every kernel and the engine under NVIDIA's compute-sanitizer, for accesses
# out of bounds, races in shared memory and barriers that do not meet. Needs compute-sanitizer of the
# CUDA toolkit on the PATH, and an installed tokenfuse with its CUDA engine.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v compute-sanitizer > /dev/null || {
  echo "sanitize: compute-sanitizer is not on the PATH; it is in the CUDA toolkit" >&2
  exit 2
}
tests=(
  tests/gpu/test_row_ops.py::test_every_ending_of_linear
  tests/gpu/test_row_ops.py::test_linear_of_a_norm
  tests/gpu/test_row_ops.py::test_the_first_of_equals_is_the_largest
  tests/gpu/test_row_ops.py::test_a_linear_of_patches_is_a_convolution
  tests/gpu/test_attention_ops.py::test_biases_of_distances_and_counts_of_keys
  tests/gpu/test_attention_ops.py::test_merged_batches_are_those_of_single_pictures
  tests/gpu/test_device_arrays.py::test_every_op_gives_the_bits_that_numpy_arrays_give
  tests/gpu/test_cuda_engine.py::test_graphs_change_no_bit
)
# Without torch's cache every array has bounds of its own.
export PYTORCH_NO_CUDA_MEMORY_CACHING=1
unset TOKENFUSE_CUDA_EMULATED
for tool in memcheck racecheck synccheck; do
  echo "== $tool"
  compute-sanitizer --tool "$tool" --error-exitcode 1 pytest -q -p no:cacheprovider "${tests[@]}"
done
echo "sanitize: clean"
