"""The multiply-add instructions of each instruction set, and those that this CPU has."""

from __future__ import annotations

import pathlib
import platform
from typing import NamedTuple

__all__ = ["REGISTERS", "Loop", "cpu_flags", "is_x86", "loops_for"]


class Loop(NamedTuple):
    """One instruction.

    In its text, \\reg is the accumulator; registers 14 and 15 (x86) or 30 and 31 (Arm) hold the
    factors.
    """

    precision: str
    needs: frozenset[str]
    macs: int
    instruction: str

    @property
    def width(self) -> str:
        """The kind of its registers, a key of `REGISTERS`."""
        if "%%" not in self.instruction:
            return "neon"
        return "zmm" if "zmm" in self.instruction else "ymm"


# Accumulators, a register each, as many as fit beside the two factors: what hides a latency of 8
# cycles on 2 units takes 16. Registers above 15 are AVX-512's, which the compiler does not use
# when it is given no flags.
REGISTERS = {
    "ymm": [*range(14)],
    "zmm": [*range(14), *range(16, 30)],
    "neon": [*range(28)],
}

# By name; what each needs are flags of /proc/cpuinfo.
_X86 = {
    "avx2 fma": Loop(
        "fp32", frozenset(["avx2", "fma"]), 8, "vfmadd231ps %%ymm14, %%ymm15, %%ymm\\reg"
    ),
    "avx512 fma": Loop(
        "fp32", frozenset(["avx512f"]), 16, "vfmadd231ps %%zmm14, %%zmm15, %%zmm\\reg"
    ),
    "avx512 bf16": Loop(
        "bf16", frozenset(["avx512_bf16"]), 32, "vdpbf16ps %%zmm14, %%zmm15, %%zmm\\reg"
    ),
    "avx vnni": Loop(
        "int8", frozenset(["avx_vnni"]), 32, "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm\\reg"
    ),
    "avx512 vnni": Loop(
        "int8", frozenset(["avx512_vnni"]), 64, "vpdpbusd %%zmm14, %%zmm15, %%zmm\\reg"
    ),
}
_ARM = {
    "neon fma": Loop("fp32", frozenset(["asimd"]), 4, "fmla v\\reg\\().4s, v30.4s, v31.4s"),
    "neon bf16 dot": Loop("bf16", frozenset(["bf16"]), 8, "bfdot v\\reg\\().4s, v30.8h, v31.8h"),
    "neon bf16 matrix": Loop(
        "bf16", frozenset(["bf16"]), 16, "bfmmla v\\reg\\().4s, v30.8h, v31.8h"
    ),
    "neon int8 dot": Loop(
        "int8", frozenset(["asimddp"]), 16, "sdot v\\reg\\().4s, v30.16b, v31.16b"
    ),
    "neon int8 matrix": Loop(
        "int8", frozenset(["i8mm"]), 32, "smmla v\\reg\\().4s, v30.16b, v31.16b"
    ),
}


def is_x86() -> bool:
    """Whether the C++ compiler here writes x86-64 code."""
    return platform.machine() in ("x86_64", "AMD64")


def cpu_flags() -> frozenset[str]:
    """What /proc/cpuinfo says that the CPU can do."""
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.split(":", 1)[1].split())
    raise SystemExit("/proc/cpuinfo names no instruction sets; this script needs Linux")


def loops_for(flags: frozenset[str], *, x86: bool) -> dict[str, Loop]:
    """The loops that a CPU with these flags can run."""
    table = _X86 if x86 else _ARM
    return {name: loop for name, loop in table.items() if loop.needs <= flags}
