"""Memory that is allocated once and used again: on the device, and pinned on the host."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Block", "Pool"]

# A device allocates in such steps; also what tensors without elements get, whose address must not
# be null.
_MIN_BYTES = 256


class Block:
    """Bytes at an address; they go back to their pool when nobody refers to them any more."""

    __slots__ = ("_pool", "address", "num_bytes")

    def __init__(self, pool: Pool, address: int, num_bytes: int) -> None:
        self._pool, self.address, self.num_bytes = pool, address, num_bytes

    def __del__(self) -> None:
        self._pool._give_back(self.address, self.num_bytes)


class Pool:
    """Blocks of one stream: who takes one writes to it in the stream's turn, behind all that
    read it before.

    Sizes are rounded up to powers of two, so that few of them serve every shape.

    Args:
        allocate: bytes to an address.
        free: an address.
    """

    def __init__(self, allocate: Callable[[int], int], free: Callable[[int], None]) -> None:
        self._allocate, self._free = allocate, free
        self._idle: dict[int, list[int]] = {}
        self._closed = self._lost = False
        self.num_bytes = 0

    def take(self, num_bytes: int) -> Block:
        """A block of at least so many bytes; allocates only where none is idle."""
        assert not self._closed
        size = 1 << (max(num_bytes, _MIN_BYTES) - 1).bit_length()
        try:
            address = self._idle.setdefault(size, []).pop()
        except IndexError:
            address = self._allocate(size)
            self.num_bytes += size
        return Block(self, address, size)

    def _give_back(self, address: int, size: int) -> None:
        # By whichever thread drops a block, also while the interpreter ends.
        if not self._closed:
            self._idle[size].append(address)
        elif not self._lost:
            self._free(address)
            self.num_bytes -= size

    def close(self) -> None:
        """Free what is idle now, and the rest when it comes back; the stream was waited for."""
        self._closed = True
        for size, addresses in self._idle.items():
            while addresses:
                self._free(addresses.pop())
                self.num_bytes -= size

    def abandon(self) -> None:
        """Close it without freeing anything, now or later: the device has failed."""
        self._closed = self._lost = True
