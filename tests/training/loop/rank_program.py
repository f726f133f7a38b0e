"""What several gloo processes do for test_ranks.py, which reads the files that they write.

`python rank_program.py JOBS.json FOLDER`: each job says how many ranks, and what they do. The
processes are forked behind the imports, which are paid once.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import sys
import traceback

import torch
import torch._dynamo  # Else each process takes seconds to import it at its first step.
import torch.distributed.fsdp
import torch.distributed.tensor
from safetensors.torch import save_file
from stand_in import STEPS, Training
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from toy_run import Colors, stage, toy_config, toy_run, trainer_of
from toy_run import train as run_trainer

from tokenfuse_training.config.run_settings import RunSettings
from tokenfuse_training.config.stage_settings import SamplerSettings
from tokenfuse_training.errors import CheckpointError
from tokenfuse_training.loop.ranks import (
    Ranks,
    join_ranks,
    on_rank_0,
    same_on_all,
    sum_over_ranks,
)
from tokenfuse_training.loop.spread import local
from tokenfuse_training.loop.whole_state import fill_optimizer, fill_tensors


def train(job: dict, ranks: Ranks, folder: pathlib.Path) -> dict:
    training = Training(job, ranks)
    if "resume" in job:
        training.load(folder / f"{job['resume']}.safetensors", STEPS // 2)
    lines = []
    while training.step < STEPS:
        if training.step == STEPS // 2:
            training.save(folder / f"{job['name']}.safetensors")
        lines.append(training.train_step())
    training.save(folder / f"{job['name']}-end.safetensors")
    return {"lines": lines}


def agree(job: dict, ranks: Ranks, folder: pathlib.Path) -> dict:
    """What ranks tell each other."""
    said: dict[str, object] = {"rank": ranks.rank, "world_size": ranks.world_size}
    said["sum"] = sum_over_ranks(torch.tensor([1.5, ranks.rank])).tolist()
    said["first"] = on_rank_0(lambda: ranks.rank)
    same_on_all("seed: 1")
    for name, work in {
        "other": lambda: same_on_all(f"seed: {ranks.rank}"),
        "full": lambda: on_rank_0(full_disk),
        "away": lambda: on_rank_0(lambda: os.stat("/nowhere/at/all")),
        "broken": lambda: on_rank_0(lambda: 1 // 0),
        "shape": lambda: fill_tensors({"a": torch.zeros(2)}, {"a": torch.zeros(3)}, "file"),
        "stranger": lambda: fill_optimizer(
            {}, torch.optim.AdamW([nn.Parameter(torch.zeros(2))]), {"a/step": torch.zeros(())}, "f"
        ),
        **{f"differs {name}": functools.partial(differs, ranks, name) for name in DIFFERS},
    }.items():
        try:
            work()
        except Exception as error:
            said[name] = [type(error).__name__, str(error)]
    return said


# What is not learned, and decides all the same what ranks wait for: on rank 1 it is another.
DIFFERS = {
    "strategy": {"run": {"strategy": "fsdp"}},
    "precision": {"run": {"precision": "bf16"}},
    "log_steps": {"run": {"log_steps": 3}},
    "compile": {"run": {"compile": True}},
    "activation_checkpointing": {"run": {"activation_checkpointing": True}},
    "accumulate": {"stage": {"accumulate": 2}},
}


def differs(ranks: Ranks, name: str) -> None:
    own = DIFFERS[name] if ranks.rank == 1 else {}
    config = toy_config(stage(**own.get("stage", {})), run=toy_run(**own.get("run", {})))
    trainer_of(config, pathlib.Path("/nowhere"), ranks=ranks)


def full_disk() -> None:
    raise CheckpointError("no space left")


def two_steps(job: dict, ranks: Ranks, folder: pathlib.Path) -> dict:
    """Also where weights are kept, and in which type those of a layer compute."""
    training = Training(job, ranks)
    seen: list[str] = []
    layer = training.objective.model.vision.layers[0]
    layer.mlp.register_forward_hook(
        lambda mlp, given, got: seen.extend([str(mlp.up.weight.dtype), str(mlp.up.bias.dtype)])
    )
    lines = [training.train_step() for _ in range(2)]
    named = training.named.values()
    return {
        "lines": lines,
        "seen": seen[:2],
        "here": sum(local(p).numel() for p in named),
        "whole": sum(p.numel() for p in named),
        "vectors": sum(p.numel() for p in named if p.ndim < 2),
    }


# Two stages, checkpoints in the middle of each; uneven shares on 2 and on 3 ranks.
SAMPLER = SamplerSettings(kind="learning_progress", warmup_steps=1, update_steps=2, ahead=2)
STAGES = (
    stage("first", steps=6, batch_size=7, sampler=SAMPLER, accumulate=2, word_order_weight=0.2),
    stage("second", steps=6, batch_size=4, freeze=("image",), fresh_optimizer=False),
)


def several_config(**changes):
    """The run of `run_whole`, on whatever ranks."""
    values = {"checkpoint_steps": 4, "keep_checkpoints": 9, "log_steps": 1}
    return toy_config(*STAGES, run=toy_run(**(values | changes)))


def run_whole(job: dict, ranks: Ranks, folder: pathlib.Path) -> dict:
    """The Trainer, from the beginning or from a checkpoint of another job."""
    own = folder / job["name"]
    if "resume" in job and ranks.rank == 0:
        name = f"step-{job['step']:08d}.safetensors"
        (own / "checkpoints").mkdir(parents=True)
        shutil.copy(folder / job["resume"] / "checkpoints" / name, own / "checkpoints")
        shutil.copy(folder / job["resume"] / "log.jsonl", own)
    on_rank_0(lambda: None)
    config = several_config(**job.get("run", {}))
    trainer = run_trainer(config, own, source=Colors(bad=(7,)), ranks=ranks)
    weights = trainer.averaged_weights()
    if ranks.rank == 0:
        save_file(weights, folder / f"{job['name']}-end.safetensors")
    return {}


@dataclasses.dataclass
class Deadly(Colors):
    """Ends its process in the middle of a step, once, when there is a checkpoint."""

    folder: str = ""

    def record(self, index):
        died = pathlib.Path(self.folder, "died")
        last = pathlib.Path(self.folder, "checkpoints", "step-00000004.safetensors")
        if last.exists() and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().record(index)


def elastic_rank(own: str) -> None:
    torch.set_num_threads(1)
    config = several_config()
    with join_ranks(config.run) as ranks:
        source = Deadly(bad=(7,), folder=own) if ranks.rank == 1 else Colors(bad=(7,))
        run_trainer(config, pathlib.Path(own), source=source, ranks=ranks)


def elastic(job: dict, ranks: Ranks, folder: pathlib.Path) -> dict:
    """What `torchrun --standalone --nproc-per-node=2 --max-restarts=1` does, but forked."""
    own = folder / job["name"]
    own.mkdir()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        max_restarts=1,
        run_id=job["name"],
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        start_method="fork",
        monitor_interval=0.05,
    )
    elastic_launch(config, elastic_rank)(str(own))
    return {}


DO = {
    "agree": agree,
    "elastic": elastic,
    "run": run_whole,
    "train": train,
    "two_steps": two_steps,
}


def start(jobs: list[dict], rank: int, port: int, folder: pathlib.Path) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(jobs[0]["ranks"]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    with join_ranks(RunSettings(device="cpu")) as ranks:
        for job in jobs:
            result = DO[job["do"]](job, ranks, folder)
            path = folder / f"{job['name']}.rank{rank}.json"
            path.write_text(json.dumps(result), encoding="utf-8")


def main(path: pathlib.Path, folder: pathlib.Path) -> None:
    everything = json.loads(path.read_text(encoding="utf-8"))
    # What FSDP2 works out at its first step serves the jobs behind it.
    for num_ranks, group in itertools.groupby(everything, lambda job: job["ranks"]):
        jobs = list(group)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = []
        for rank in range(num_ranks):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    start(jobs, rank, port, folder)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        if any(codes):
            raise SystemExit(f"{[job['name'] for job in jobs]}: {codes}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
