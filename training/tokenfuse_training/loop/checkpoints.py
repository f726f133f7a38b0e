"""Checkpoints of a run's folder: whole or not there at all, read without running any code.

One safetensors file holds weights, their average and the optimizer's moments, each under its
parameter's name; its metadata holds the facts of the run as JSON. A checksum of all of it tells
a damaged file from a whole one. Never pickle.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tokenfuse_sdk.atomic import sync_folder
from tokenfuse_training.errors import CheckpointError

__all__ = [
    "checkpoint_path",
    "newest_checkpoint",
    "read_checkpoint",
    "read_facts",
    "write_checkpoint",
]

_NAME = re.compile(r"step-(\d{8,})\.safetensors")
_UNFINISHED = ".unfinished"


def checkpoint_path(folder: pathlib.Path, step: int) -> pathlib.Path:
    """Where the checkpoint behind `step` updates lies."""
    return folder / f"step-{step:08d}.safetensors"


def _all(folder: pathlib.Path) -> list[tuple[int, pathlib.Path]]:
    """Steps and files, oldest first."""
    if not folder.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def newest_checkpoint(folder: pathlib.Path) -> pathlib.Path | None:
    """The one to go on with; None where there is none."""
    found = _all(folder)
    return found[-1][1] if found else None


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32: against damage, not against an attacker; it reads gigabytes in seconds."""
    total = 0
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode(), total)
        flat = tensor.detach().contiguous().view(-1)
        if flat.numel():
            total = zlib.crc32(flat.view(torch.uint8).numpy(), total)
    return f"{total:08x}"


def _umask() -> int:
    """It can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_checkpoint(
    folder: pathlib.Path,
    *,
    step: int,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    keep: int,
) -> None:
    """Write the checkpoint of a step, then remove all but the last `keep`.

    Args:
        folder: made where it is not there.
        step: updates done.
        tensors: on the CPU.
        facts: JSON.
        keep: at least 1.

    Raises:
        CheckpointError: it cannot be written; the earlier ones stay, and nothing of this one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = checkpoint_path(folder, step)
    # A folder of its own: the library has temporary files beside the one that it writes.
    unfinished = folder / _UNFINISHED
    temporary = unfinished / path.name
    text = json.dumps({"step": step, **facts})
    metadata = {"facts": text, "facts_crc32": f"{zlib.crc32(text.encode()):08x}"}
    metadata["tensors_crc32"] = _checksum(tensors)
    try:
        # Left by a run that was killed while it wrote.
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_file(dict(tensors), temporary, metadata=metadata)
        # The library's are for their owner alone.
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        unfinished.rmdir()
        sync_folder(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        before = newest_checkpoint(folder)
        stays = f"{before.name} stays, and the run goes on from it" if before else "there is none"
        raise CheckpointError(
            f"{path} cannot be written ({error}); {stays}: make room or set run.keep_checkpoints "
            "lower, and start again"
        ) from error
    for _, old_path in _all(folder)[:-keep]:
        old_path.unlink()


def read_facts(path: pathlib.Path) -> dict[str, Any]:
    """Facts alone, quickly; the tensors are not looked at.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    return _read(path, tensors=False)[1]


def read_checkpoint(path: pathlib.Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU, and facts.

    Raises:
        CheckpointError: it is damaged; names the one before it.
    """
    return _read(path, tensors=True)


def _read(path: pathlib.Path, *, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            text = metadata["facts"]
            kept = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
        facts = json.loads(text)
        assert isinstance(facts, dict)
        whole = f"{zlib.crc32(text.encode()):08x}" == metadata["facts_crc32"]
        whole = whole and (not tensors or _checksum(kept) == metadata["tensors_crc32"])
    except (OSError, SafetensorError, KeyError, ValueError, AssertionError) as error:
        raise _damaged(path, str(error)) from error
    if not whole:
        raise _damaged(path, "its checksum is not that of its content")
    return kept, facts


def _damaged(path: pathlib.Path, reason: str) -> CheckpointError:
    before = [other for _, other in _all(path.parent) if other.name < path.name]
    way_out = (
        f"delete it, and the run goes on from {before[-1].name}"
        if before
        else "there is none before it: delete it, and the run begins anew"
    )
    return CheckpointError(f"{path} is damaged ({reason}); {way_out}")
