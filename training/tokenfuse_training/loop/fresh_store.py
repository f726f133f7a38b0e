"""Where ranks find each other, with nothing in it of an earlier start.

torchrun keeps one store over all restarts (PyTorch 2.13). The ranks of a restart then read the
addresses of ranks that are dead: they fail with `Connection refused`, or wait for ever. So they
agree on a name that is new, and keep all that follows under it.
"""

from __future__ import annotations

import time
import uuid

import torch.distributed as dist

from tokenfuse_sdk.errors import DeviceError

__all__ = ["fresh_store"]

_PAUSE_S = 0.005


def fresh_store(
    store: dist.Store, rank: int, world_size: int, patience_s: float
) -> dist.PrefixStore:
    """The part of a shared store that this start of the ranks has for itself.

    Rank 0 thinks of a name. Another rank asks under a name of its own, which rank 0 answers:
    what an earlier start left has no asker, and an earlier rank 0 no longer answers.

    Raises:
        DeviceError: ranks did not come within `patience_s` seconds.
    """
    if rank:
        own = uuid.uuid4().hex
        store.set(f"asks/{rank}", own)
        name = store.get(f"answer/{own}").decode()
        store.set(f"{name}/heard/{rank}", "")
        return dist.PrefixStore(name, store)
    name = uuid.uuid4().hex
    waiting = set(range(1, world_size))
    answered: dict[int, bytes] = {}
    deadline = time.monotonic() + patience_s
    while waiting:
        for other in sorted(waiting):
            if store.check([f"asks/{other}"]):
                asked = store.get(f"asks/{other}")
                if answered.get(other) != asked:
                    store.set(f"answer/{asked.decode()}", name)
                    answered[other] = asked
            if store.check([f"{name}/heard/{other}"]):
                waiting.discard(other)
        if time.monotonic() > deadline:
            raise DeviceError(
                f"rank {', '.join(map(str, sorted(waiting)))} of {world_size} did not come within "
                f"{patience_s:.0f} s; look at what they said, and whether their machines reach "
                "this one"
            )
        time.sleep(_PAUSE_S)
    return dist.PrefixStore(name, store)
