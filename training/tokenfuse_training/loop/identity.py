"""Whether a checkpoint belongs to the run that is asked for.

To go on with another config, other data or other first weights would give a model that no
command makes again, so it is refused. Paths are not compared: what is read from them is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.train_config import TrainConfig

__all__ = ["check_identity", "run_identity"]

# Changes nothing that is learned, or is told by a fingerprint or a digest.
_LEFT_OUT = ("run", "evaluate", "init", "tokenizer")


def run_identity(
    config: TrainConfig, *, beginning: str, fingerprints: Mapping[str, str]
) -> dict[str, Any]:
    """All that decides what a run learns, up to rounding, as JSON.

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
    return json.loads(json.dumps(plain))


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
    differ = list(_differences(stored, asked, ""))
    if differ:
        raise ConfigError(f"{where} is of another run: {', '.join(differ)}; {way_out}")


_NOTHING = object()


def _differences(stored: Any, asked: Any, name: str) -> Iterator[str]:
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        for key in [*asked, *(key for key in stored if key not in asked)]:
            inner = f"{name}.{key}" if name else key
            yield from _differences(stored.get(key, _NOTHING), asked.get(key, _NOTHING), inner)
    elif stored != asked:
        yield f"{name} ({_said(stored)} there, {_said(asked)} here)"


def _said(value: object) -> str:
    if value is _NOTHING:
        return "nothing"
    if isinstance(value, Mapping) and value:
        return "something"
    return value if isinstance(value, str) else json.dumps(value)
