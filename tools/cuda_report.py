"""What ptxas says of each kernel, as a table; fails where one uses memory for want of registers.

    python tools/cuda_report.py BUILD_LOG

The log is that of a build with -Xptxas=-v. A spill, or an array that is indexed at run time and so
has a stack frame, costs a kernel more than any other mistake and changes no result: no test would
see it.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import subprocess
import sys

# Kernels that may have a stack frame, as the table names them, and why.
ALLOWED: dict[str, str] = {}

_ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(sm_\w+)'")
_FUNCTION = re.compile(r"Function properties for (\S+)")
_MEMORY = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
# Spills are told of each kernel.
_WARNING = re.compile(r"\bwarning\b\s*[#:](?! Registers are spilled)")


@dataclasses.dataclass(slots=True)
class Kernel:
    name: str
    arch: str
    registers: int = 0
    shared_bytes: int = 0  # static; what a launch asks for is not known here
    spill_bytes: int = 0
    stack_bytes: int = 0


def read_report(text: str) -> tuple[list[Kernel], list[str]]:
    """Kernels, and functions that were not inlined, in order; and the lines that are warnings."""
    kernels: list[Kernel] = []
    warnings = []
    entry, arch = "", ""
    for line in text.splitlines():
        if match := _ENTRY.search(line):
            entry, arch = match.groups()
        elif match := _FUNCTION.search(line):
            kernels.append(Kernel(match.group(1), arch))
        elif (match := _MEMORY.search(line)) and kernels:
            stack, stores, loads = map(int, match.groups())
            kernels[-1].stack_bytes = stack
            kernels[-1].spill_bytes = stores + loads
        elif match := _USED.search(line):
            shared = _SHARED.search(line)
            for kernel in kernels:
                if (kernel.name, kernel.arch) == (entry, arch):
                    kernel.registers = int(match.group(1))
                    kernel.shared_bytes = int(shared.group(1)) if shared else 0
        elif _WARNING.search(line):
            warnings.append(line.strip())
    _demangle(kernels)
    return kernels, warnings


def _demangle(kernels: list[Kernel]) -> None:
    command = shutil.which("c++filt") or shutil.which("cu++filt")
    if command is None or not kernels:
        return
    mangled = "".join(kernel.name + "\n" for kernel in kernels)
    done = subprocess.run([command], input=mangled, capture_output=True, text=True, check=True)
    for kernel, name in zip(kernels, done.stdout.splitlines(), strict=True):
        name = re.sub(r"\(anonymous namespace\)::|_GLOBAL__N_\w+::|tokenfuse::cuda::", "", name)
        name = re.sub(r"^void ", "", name)
        kernel.name = re.sub(r"\([^()]*\)$", "", name)


def problems(kernels: list[Kernel], warnings: list[str]) -> list[str]:
    found = list(warnings)
    if not kernels:
        found.append("no kernel in the log: was it built anew, with -Xptxas=-v?")
    for kernel in kernels:
        if kernel.name in ALLOWED or not (kernel.spill_bytes or kernel.stack_bytes):
            continue
        found.append(
            f"{kernel.name} for {kernel.arch}: {kernel.spill_bytes} bytes spilled, "
            f"{kernel.stack_bytes} of stack; make its tile smaller, index its arrays by constants, "
            "or give the reason in ALLOWED of tools/cuda_report.py"
        )
    return found


def table(kernels: list[Kernel]) -> str:
    head = ("arch", "registers", "shared", "spill", "stack", "kernel")
    rows = [
        (k.arch, k.registers, k.shared_bytes, k.spill_bytes, k.stack_bytes, k.name)
        for k in sorted(kernels, key=lambda k: (k.name, k.arch))
    ]
    return "\n".join("{:>6} {:>9} {:>6} {:>5} {:>5}  {}".format(*row) for row in [head, *rows])


def main(path: str) -> int:
    kernels, warnings = read_report(pathlib.Path(path).read_text(encoding="utf-8"))
    print(table(kernels))
    found = problems(kernels, warnings)
    for problem in found:
        print(f"cuda_report: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
