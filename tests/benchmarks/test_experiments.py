"""The experiments' scripts: runs that stop and go on, the same start for all, and the tables."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("sklearn")
import ablations
import fusion_methods
import longer_training
import samplers
import torch
from common_start import common_beginning
from PIL import Image
from plots import plot_results
from results import RESULTS
from run_list import Variant, arguments, config_of, open_results, run_all
from step_cost import step_memory
from tables import (
    PAGES,
    ablation_rows,
    accuracy_table,
    fusion_tables,
    in_page,
    mean_and_spread,
    newest,
    sampler_rows,
    samples_to,
)

from tokenfuse_sdk.config import FUSION_KINDS
from tokenfuse_training.sources import open_sources
from tokenfuse_training.start import begin

SMALL = ["data.train.num_scenes=12", "data.test.num_scenes=4", "run.log_steps=1"]
SMALL += ["stages.patches.steps=1", "stages.patches.batch_size=2"]


def options(folder, *more: str, sets: tuple[str, ...] = ()):
    given = ["--machine", "here", "--work", str(folder / "work"), "--seeds", "0", *more]
    given += ["--results", str(folder / "results")]
    for one in (*SMALL, *sets):
        given += ["--set", one]
    return arguments("").parse_args(given)


def test_runs_stop_and_go_on_and_are_done_once(tmp_path, monkeypatch):
    sets = ("stages.answer.steps=2", "stages.answer.batch_size=2")
    stopped = run_all(
        ablations.EXPERIMENT, options(tmp_path, "--minutes", "0", "--only", "N = 4", sets=sets)
    )
    assert stopped.get("runs") == {} and not stopped.path.exists()
    done = run_all(ablations.EXPERIMENT, options(tmp_path, "--only", "N = 4", sets=sets))
    assert list(done.get("runs")) == ["N = 4, seed 0"]
    run = done.get("runs")["N = 4, seed 0"]
    assert [step for step, _ in run["losses"]] == [1, 2]
    assert 0 <= run["low"] <= run["accuracy"] <= run["high"] <= 1
    assert set(run["by_family"]) <= {"color", "shape", "digit"}
    written = done.path.read_bytes()
    # Nothing is left to do: nothing is opened.
    monkeypatch.setattr("run_list.open_sources", None)
    run_all(ablations.EXPERIMENT, options(tmp_path, "--only", "N = 4", sets=sets))
    assert done.path.read_bytes() == written
    assert "| N = 4 |" in ablation_rows(json.loads(written))["latents"]


def test_samplers_are_measured_on_the_way(tmp_path):
    sets = ("stages.mixture.steps=2", "stages.mixture.batch_size=5", "run.checkpoint_steps=1")
    sets += ("data.half.num_scenes=8", "data.eighth.num_scenes=6")
    done = run_all(samplers.EXPERIMENT, options(tmp_path, "--only", "difficulty", sets=sets))
    (run,) = done.get("runs").values()
    assert [(p["step"], p["samples"]) for p in run["curve"]] == [(1, 5), (2, 10)]
    for point in run["curve"]:
        assert set(point["by_task"]) == {"ask", "caption", "complete", "match", "fill"}
        assert point["accuracy"] == pytest.approx(sum(point["by_task"].values()) / 5)


def test_all_methods_begin_with_the_same_encoders_and_decoder():
    common = config_of("fusion.yaml", ())
    encoder = {
        name: torch.full_like(value, 0.5)
        for name, value in begin(common).model.state_dict().items()
        if name.startswith("vision.")
    }
    models = {
        kind: common_beginning(
            config_of("fusion.yaml", (f"model.fusion.kind={kind}",)), common, encoder
        ).model
        for kind in FUSION_KINDS
    }
    first = models["joint_adaptive"].state_dict()
    for kind, model in models.items():
        assert model.config.fusion.kind == kind
        shared = {n: v for n, v in model.state_dict().items() if not n.startswith("fusion.")}
        assert set(shared) == {n for n in first if not n.startswith("fusion.")}
        for name, value in shared.items():
            torch.testing.assert_close(value, first[name], rtol=0, atol=0)
            assert not name.startswith("vision.") or (value == 0.5).all()


@pytest.mark.skipif(
    not pathlib.Path("/proc/self/clear_refs").exists(), reason="needs Linux: /proc/self/clear_refs"
)
def test_a_wider_step_takes_more_memory(tmp_path):
    sets = [*SMALL, "stages.answer.batch_size=4", "data.train.families=[]"]
    config = config_of("fusion.yaml", sets, tmp_path)
    open_sources(config, ["train"], vision=begin(config).model_config.vision, quiet=True)
    few = step_memory(config, 1)
    asked = "stages.answer.tasks.scenes.options.questions=12"
    many = step_memory(config_of("fusion.yaml", [*sets, asked], tmp_path), 1)
    assert few["peak_mb"] == pytest.approx(few["before_mb"] + few["step_mb"])
    assert many["step_mb"] > 1.5 * few["step_mb"] > 0


@pytest.mark.skipif(
    not pathlib.Path("/proc/self/clear_refs").exists(), reason="needs Linux: /proc/self/clear_refs"
)
def test_costs_are_measured_once_and_concat_is_one(tmp_path, monkeypatch):
    two = tuple(Variant(name=k, sets=(f"model.fusion.kind={k}",)) for k in ("concat", "perceiver"))
    few = dataclasses.replace(fusion_methods.EXPERIMENT, variants=two)
    monkeypatch.setattr(fusion_methods, "EXPERIMENT", few)
    monkeypatch.setattr(fusion_methods, "_SCALES", {"experiment": ("fusion.yaml", 2)})
    sets = ("stages.answer.batch_size=2", "data.train.families=[]")
    given = options(tmp_path, sets=sets)
    given.rounds = 2
    found = open_results(few, given)
    fusion_methods.measure_costs(given, found)
    data = json.loads(found.path.read_text())
    cost = data["costs"]["experiment"]
    assert data["num_threads"] == torch.get_num_threads() == 1
    assert list(cost["times"]["contestants"]) == list(cost["memory"]) == ["perceiver", "concat"]
    assert cost["times"]["contestants"]["concat"]["times_faster_than_concat"] == 1.0
    assert all(memory["step_mb"] > 0 for memory in cost["memory"].values())
    monkeypatch.setattr("fusion_methods.step_memory", None)
    fusion_methods.measure_costs(given, open_results(few, given))
    # Another number of threads is another file's.
    given.num_threads = 2
    with pytest.raises(SystemExit, match="holds another setting"):
        open_results(few, given)


def test_samplers_beside_stratified_of_the_same_seed(tmp_path):
    def run(kind: str, seed: int, *accuracies: float) -> dict:
        curve = [
            {"step": i, "samples": 100 * i, "accuracy": a, "by_task": {"ask": a}}
            for i, a in enumerate(accuracies, 1)
        ]
        return {"variant": kind, "seed": seed, "accuracy": accuracies[-1], "curve": curve}

    runs = [run("stratified", 0, 0.2, 0.4), run("stratified", 1, 0.2, 0.6)]
    runs += [run("odm", 0, 0.4, 0.5), run("odm", 1, 0.4, 0.5)]
    data = {"runs": dict(enumerate(runs))}
    table = sampler_rows(data)["samplers"]
    assert "| `stratified` | 50.0 ± 14.1 | 200 ± 0 | 2 of 2 | 50 ± 14 |" in table
    # Reaches 40% with its first point, and 60% never.
    assert "| `odm` | 50.0 ± 0.0 | 100 | 1 of 2 | 50 ± 0 |" in table
    plot_results(data, tmp_path / "docs" / "samplers.png")
    with Image.open(tmp_path / "docs" / "samplers.png") as picture:
        # Two lines and their bands: more than axes and black words.
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_means_and_samples_by_hand():
    assert mean_and_spread([0.78, 0.80]) == "79.0 ± 1.4"
    assert mean_and_spread([0.5]) == "50.0"
    curve = [{"samples": 10, "accuracy": 0.2}, {"samples": 20, "accuracy": 0.6}]
    assert samples_to(curve, 0.3) == pytest.approx(12.5)
    assert samples_to(curve, 0.1) == pytest.approx(5.0)
    assert samples_to(curve, 0.7) is None


def test_tables_replace_their_own_marks_and_leave_the_prose(tmp_path):
    page = tmp_path / "page.md"
    in_page(page, "Title", {"one": "| a |\n", "two": "| b |\n"})
    page.write_text(page.read_text().replace("## One", "Words.\n\n## One"))
    in_page(page, "Title", {"one": "| c \\1 |\n", "two": "| b |\n"})
    text = page.read_text()
    assert "Words." in text and "| c \\1 |" in text and "| a |" not in text
    assert text.count("<!-- table one -->") == 1
    assert len(re.findall("<!-- end -->", text)) == 2


def test_the_paper_size_is_counted_without_any_run():
    table = fusion_tables({"runs": {}, "costs": {}})["paper-size"]
    assert "| `joint_adaptive` | 73.5 (36.8) | -48% |" in table


def test_methods_stand_beside_concat():
    def run(kind: str, accuracy: float, gflops: float) -> dict:
        facts = {"variant": kind, "accuracy": accuracy, "by_family": {"color": accuracy}}
        return facts | {"num_parameters": 1000, "gflops": gflops, "gmacs": gflops / 2}

    runs = [run("concat", 0.5, 0.1), run("joint_adaptive", 0.6, 0.04), run("concat", 0.7, 0.1)]
    table = accuracy_table({"runs": dict(enumerate(runs))})["accuracy"]
    assert "| `joint_adaptive` | 60.0 | 60 | 1k | 0.0400 (0.0200) | -60% | 1 |" in table
    assert "| `concat` | 60.0 ± 14.1 | 60 ± 14 | 1k | 0.1000 (0.0500) | +0% | 2 |" in table


def test_longer_training_differs_in_its_steps_alone():
    short = config_of("fusion.yaml", ("stages.answer.steps=3000",))
    for variant in longer_training.EXPERIMENT.variants:
        config = config_of("fusion.yaml", variant.sets)
        kind = {"kind": variant.name}
        assert config.model.fusion == short.model.fusion | kind
        assert config.stages == short.stages


@pytest.mark.parametrize("experiment", sorted(PAGES))
def test_pages_tell_what_is_stored(tmp_path, experiment):
    stored = newest(RESULTS, experiment)
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "results" / f"{experiment}.md"
    assert stored is not None
    again = tmp_path / page.name
    shutil.copy(page, again)
    title, tables = PAGES[experiment]
    in_page(again, title, tables(json.loads(stored.read_text())))
    assert again.read_text() == page.read_text()
