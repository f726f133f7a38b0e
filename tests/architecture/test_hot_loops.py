"""No micro-kernel moves its sums or pointers to the stack and back: the module, disassembled.

One index that is no constant is enough to make a compiler do so, at a third of the speed and with
the same results, which no other test would see.
"""

from __future__ import annotations

import dataclasses
import platform
import re
import shutil
import subprocess

import pytest

from tokenfuse_sdk import _native

pytestmark = [
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 instructions"
    ),
    pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump"),
]

_LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S.*)$")
_JUMP = re.compile(r"^j\w+\s+([0-9a-f]+)")
_STACK = re.compile(r"\(%r[sb]p")
# Longer than any unrolled step; shorter than a loop around another one.
_MOST_INSTRUCTIONS = 140


@dataclasses.dataclass(frozen=True)
class Loop:
    body: tuple[str, ...]

    def count(self, instruction: str) -> int:
        return sum(line.startswith(instruction) and "%zmm" in line for line in self.body)

    @property
    def on_stack(self) -> list[str]:
        return [line for line in self.body if _STACK.search(line)]

    @property
    def spilled(self) -> list[str]:
        return [line for line in self.on_stack if "%zmm" in line]


@pytest.fixture(scope="module")
def loops() -> list[Loop]:
    """The innermost loops: from a jump back to its target, without another such jump inside."""
    command = ["objdump", "-d", "--no-show-raw-insn", _native.__file__]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    code = [m.groups() for m in map(_LINE.match, text.splitlines()) if m]
    at = {int(address, 16): i for i, (address, _) in enumerate(code)}
    found: list[Loop] = []
    last_jump = -1
    for i, (_, line) in enumerate(code):
        jump = _JUMP.match(line)
        start = at.get(int(jump.group(1), 16)) if jump else None
        if start is None or start >= i:
            continue
        if i - start < _MOST_INSTRUCTIONS and start > last_jump:
            found.append(Loop(tuple(text for _, text in code[start : i + 1])))
        last_jump = i
    return found


# The instruction, and how many of them the largest tile has in a step.
@pytest.mark.parametrize(
    ("instruction", "tile"), [("vpdpbusd", 14 * 2), ("vpdpwssd", 14 * 2), ("vfmadd231ps", 9 * 3)]
)
def test_the_largest_tiles_use_registers_alone(loops, instruction, tile):
    largest = [loop for loop in loops if loop.count(instruction) == tile]
    assert largest, f"no loop with {tile} {instruction}: does this test still read the kernels?"
    for loop in largest:
        assert not loop.on_stack, loop.on_stack


@pytest.mark.parametrize("instruction", ["vpdpbusd", "vpdpwssd"])
def test_sums_of_smaller_tiles_stay_in_registers(loops, instruction):
    for loop in loops:
        if loop.count(instruction) >= 8:
            assert not loop.spilled, loop.spilled
