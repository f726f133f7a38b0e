"""Whether a checkpoint belongs to the run that is asked for.

To go on with another config, other data or other first weights would give a model that no
command makes again, so it is refused. Where data lie (`root`) is not compared, nor the paths of
`init` and `tokenizer`: what is read from them is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.train_config import TrainConfig
from tokenfuse_training.start import Beginning

__all__ = ["check_identity", "run_identity", "shared_settings"]

# Changes nothing that is learned, or is told by a fingerprint or a digest.
_LEFT_OUT = ("run", "evaluate", "init", "tokenizer")
# Of data and stages: where it is read from, when it is given up, and in how many pieces.
_LEFT_OUT_OF_DATA = ("root", "max_bad_share")
_LEFT_OUT_OF_STAGES = ("accumulate",)
# Of `run`: what decides which collectives a rank calls, and how often. Checkpoints and the end
# are decided by rank 0 for all.
_SHARED = ("strategy", "precision", "compile", "activation_checkpointing", "log_steps")


def run_identity(
    config: TrainConfig, beginning: Beginning, fingerprints: Mapping[str, str]
) -> dict[str, Any]:
    """All that decides what a run learns, up to rounding, as JSON.

    Args:
        config: whole; left out are `run`, `evaluate`, `init`, `tokenizer`, `root`,
            `max_bad_share` and `accumulate`.
        beginning: its digest, and that of the tokenizer, so that a message can name either.
        fingerprints: of each data set that a stage reads.
    """
    plain = dataclasses.asdict(config)
    for name in _LEFT_OUT:
        del plain[name]
    used = {task.data for stage in config.stages for task in stage.tasks.values()}
    plain["data"] = {
        name: {key: value for key, value in settings.items() if key not in _LEFT_OUT_OF_DATA}
        for name, settings in plain["data"].items()
        if name in used
    }
    plain["stages"] = {
        stage["name"]: {k: v for k, v in stage.items() if k not in _LEFT_OUT_OF_STAGES}
        for stage in plain["stages"]
    }
    plain |= {"order_of_stages": [stage.name for stage in config.stages]}
    plain |= {"beginning": beginning.source, "fingerprint": dict(fingerprints)}
    plain["tokenizer"] = hashlib.sha256(beginning.tokenizer_json).hexdigest()[:32]
    return json.loads(json.dumps(plain))


def shared_settings(config: TrainConfig, *, device: str, bf16: bool) -> dict[str, str]:
    """Name to value of what is not learned and must be the same on every rank all the same.

    Ranks that differ in it would wait for one another, each in another place.

    Args:
        config: whole.
        device: the type of device that `run.device` came to on this rank.
        bf16: whether matrix products are in bfloat16 there.
    """
    shared = {f"run.{name}": str(getattr(config.run, name)) for name in _SHARED}
    shared |= {f"stages.{stage.name}.accumulate": str(stage.accumulate) for stage in config.stages}
    return shared | {"device": device, "use of bfloat16": str(bf16)}


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
