"""Whether a checkpoint belongs to the run that is asked for.

To go on with another config, other data or other first weights would give a model that no
command makes again, so it is refused. Paths are not compared: what is read from them is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.train_config import TrainConfig

__all__ = ["check_identity", "run_identity"]

# Changes nothing that is learned, or is told by a fingerprint or a digest.
_LEFT_OUT = ("run", "evaluate", "init", "tokenizer")


def run_identity(
    config: TrainConfig, *, beginning: str, fingerprints: Mapping[str, str]
) -> dict[str, Any]:
    """All that decides what a run learns, up to rounding, as JSON, by dotted names.

    Args:
        config: whole; `run` and `evaluate` are left out.
        beginning: the digest of first weights, tokenizer and preprocessing.
        fingerprints: of each data set that a stage reads.
    """
    plain = dataclasses.asdict(config)
    for name in _LEFT_OUT:
        del plain[name]
    used = {task.data for stage in config.stages for task in stage.tasks.values()}
    plain["data"] = {
        name: {key: value for key, value in settings.items() if key != "root"}
        for name, settings in plain["data"].items()
        if name in used
    }
    plain["stages"] = {stage["name"]: stage for stage in plain["stages"]}
    plain |= {"order_of_stages": [stage.name for stage in config.stages]}
    plain |= {"beginning": beginning, "fingerprint": dict(fingerprints)}
    return json.loads(json.dumps(_flat(plain)))


def _flat(value: Any, where: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        return {where: value}
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        flat |= _flat(inner, f"{where}.{name}" if where else str(name))
    return flat


def check_identity(stored: object, asked: Mapping[str, Any], where: str) -> None:
    """Make sure that a checkpoint's run is the one that is asked for.

    Args:
        stored: what the checkpoint kept of `run_identity`.
        asked: `run_identity` of the run to go on with.
        where: the checkpoint, for messages.

    Raises:
        ConfigError: names each setting that differs, with both values.
    """
    way_out = "set them back, or name another --work, or delete that folder to begin anew"
    if not isinstance(stored, dict):
        raise ConfigError(f"{where} does not say which run it belongs to; {way_out}")
    nothing = "nothing"
    names = [*asked, *(name for name in stored if name not in asked)]
    differ = [
        f"{name} ({_said(stored.get(name, nothing))} there, {_said(asked.get(name, nothing))} here)"
        for name in names
        if asked.get(name, nothing) != stored.get(name, nothing)
    ]
    if differ:
        raise ConfigError(f"{where} is of another run: {', '.join(differ)}; {way_out}")


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
