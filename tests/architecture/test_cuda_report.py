"""tools/cuda_report.py fails where a kernel uses memory for want of registers.

With nvcc the report is the compiler's own; without one, the stored one of the same source.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "cuda_report.py"

# 64 sums in 32 registers; an array that is indexed at run time; and neither.
_SOURCE = """
namespace tokenfuse { namespace cuda { namespace {
template <int kSums> __global__ void spills(const float* x, float* y) {
  float sums[kSums] = {};
  for (int k = 0; k < 1000; ++k) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) {
      sums[i] += x[k * kSums + i + threadIdx.x] * sums[(i + 7) % kSums];
    }
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) y[i * 32 + threadIdx.x] = sums[i];
}
__global__ void indexes(const int* at, float* y) {
  float values[32];
  for (int i = 0; i < 32; ++i) values[i] = y[i];
  for (int i = 0; i < 100; ++i) values[at[i]] += 1.0f;
  for (int i = 0; i < 32; ++i) y[i] = values[i];
}
__global__ void clean(float* y) {
  __shared__ float values[32];
  values[threadIdx.x] = y[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] += values[31 - threadIdx.x];
}
}  // namespace
void launch(int* at, float* y) {
  spills<64><<<1, 32>>>(y, y);
  indexes<<<1, 32>>>(at, y);
  clean<<<1, 32>>>(y);
}
}}
"""
_STORED = """
ptxas warning : Registers are spilled to local memory in function '_ZN9tokenfuse4cuda12_GLOBAL__N_16spillsILi64EEEvPKfPf', 472 bytes spill stores, 468 bytes spill loads
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN9tokenfuse4cuda12_GLOBAL__N_16spillsILi64EEEvPKfPf' for 'sm_87'
ptxas info    : Function properties for _ZN9tokenfuse4cuda12_GLOBAL__N_16spillsILi64EEEvPKfPf
    248 bytes stack frame, 472 bytes spill stores, 468 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 248 bytes cumulative stack size, 368 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN9tokenfuse4cuda12_GLOBAL__N_15cleanEPf' for 'sm_87'
ptxas info    : Function properties for _ZN9tokenfuse4cuda12_GLOBAL__N_15cleanEPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 128 bytes smem, 360 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN9tokenfuse4cuda12_GLOBAL__N_17indexesEPKiPf' for 'sm_87'
ptxas info    : Function properties for _ZN9tokenfuse4cuda12_GLOBAL__N_17indexesEPKiPf
    128 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 128 bytes cumulative stack size, 368 bytes cmem[0]
"""  # noqa: E501
_ROW = re.compile(r"^ *sm_87 +(\d+) +(\d+) +(\d+) +(\d+)  (\S+)$", re.M)


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> str:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return _STORED
    folder = tmp_path_factory.mktemp("spill")
    (folder / "spill.cu").write_text(_SOURCE)
    done = subprocess.run(
        [nvcc, "-arch=sm_87", "-maxrregcount=32", "-Xptxas=-v,-warn-spills", "-c", "spill.cu"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return done.stdout + done.stderr


def _run(log: str, folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    (folder / "build.log").write_text(log)
    return subprocess.run(
        [sys.executable, str(REPORT), str(folder / "build.log")],
        capture_output=True,
        text=True,
        check=False,
    )


def _row(table: str, name: str) -> list[int]:
    """Registers, and bytes of shared memory, spills and stack."""
    (row,) = [row for *row, kernel in _ROW.findall(table) if name in kernel]
    return [int(number) for number in row]


def test_a_spill_and_a_stack_frame_fail_and_are_named(log, tmp_path):
    done = _run(log, tmp_path)
    assert done.returncode == 1
    clean, indexes, spills = (_row(done.stdout, name) for name in ("clean", "indexes", "spills"))
    assert 0 < clean[0] <= 32
    assert clean[1:] == [128, 0, 0]
    assert indexes[1:] == [0, 0, 128]
    assert spills[0] == 32
    assert spills[2] > 0
    told = done.stderr.splitlines()
    assert [line for line in told if "clean" in line] == []
    assert len([line for line in told if "indexes" in line]) == 1
    assert len([line for line in told if "spills" in line]) == 1


def test_a_report_of_kernels_in_registers_alone_passes(log, tmp_path):
    blocks = re.split(r"(?=^ptxas info +: Compiling entry)", log, flags=re.M)
    clean = [block for block in blocks if re.match(r".*Compiling entry.*clean", block)]
    assert len(clean) == 1
    done = _run(clean[0], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(_ROW.findall(done.stdout)) == 1


def test_a_log_without_kernels_fails(tmp_path):
    done = _run("ninja: no work to do.\n", tmp_path)
    assert done.returncode == 1
    assert "no kernel" in done.stderr


def test_a_warning_of_the_compiler_fails(log, tmp_path):
    warning = 'x.cu(3): warning #177-D: variable "a" was declared but never referenced'
    done = _run(f"{log}\n{warning}\n", tmp_path)
    assert done.returncode == 1
    assert warning in done.stderr
