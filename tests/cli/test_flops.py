"""`tokenfuse flops` prints what the counter counts, and refuses what it cannot read."""

from __future__ import annotations

import json
import os
import threading

import pytest
from click.testing import CliRunner

from tokenfuse_sdk.cli.flops import flops
from tokenfuse_sdk.config import FUSION_KINDS
from tokenfuse_sdk.errors import ConfigError, TokenBudgetError
from tokenfuse_sdk.flops import count_flops
from tokenfuse_sdk.sizes import SIZES, named_config


def _run(*arguments):
    return CliRunner().invoke(flops, list(arguments), env={"COLUMNS": "160"})


@pytest.mark.parametrize("size", SIZES)
def test_json_is_the_report(size):
    result = _run(size, "--token-budget", "8", "--text-tokens", "9", "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    report = count_flops(named_config(size), num_text_tokens=9, token_budget=8)
    assert data.pop("num_parameters") > 1_000_000
    assert data == report.to_dict()


def test_size_and_fusion_by_name_count_in_billions_too():
    data = json.loads(_run("--size", "base", "--fusion", "concat", "--json").output)
    assert data == json.loads(_run("base", "--kind", "concat", "--json").output)
    assert data["kind"] == "concat"
    assert data["gflops"] == pytest.approx(2 * data["gmacs"])
    for unit in ("gflops", "gmacs"):
        assert data[unit] == pytest.approx(sum(row[unit] for row in data["modules"]))
    # The bar of the comparison at the paper's size: 33% under concat.
    joint = json.loads(_run("--size", "base", "--json").output)
    assert joint["gflops"] <= 0.67 * data["gflops"]


def test_the_table_names_every_module_and_both_totals():
    result = _run("tiny", "--fusion", "perceiver")
    assert result.exit_code == 0, result.output
    assert "perceiver" in result.output
    assert "fusion.iterations.*.attention" in result.output
    assert "1 MAC = 2 FLOPs" in result.output


def test_compare_lists_every_kind_against_concat():
    result = _run("base", "--compare")
    assert result.exit_code == 0, result.output
    for kind in FUSION_KINDS:
        assert kind in result.output
    assert "-48%" in result.output
    rows = json.loads(_run("base", "--compare", "--json").output)
    assert [row["kind"] for row in rows] == list(FUSION_KINDS)


def test_a_config_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(named_config("small").to_dict()))
    from_file = json.loads(_run("--config", str(path), "--json").output)
    assert from_file == json.loads(_run("small", "--json").output)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b" " * (1 << 20) + b"{}"]
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert isinstance(_run("--config", str(path)).exception, ConfigError)


@pytest.mark.parametrize(
    ("extra", "word"),
    [
        ('"x": ' + "9" * 5000, "cannot be read"),
        ('"name": "nano", "name": "nano"', "twice"),
        ('"x": NaN', "NaN"),
    ],
)
def test_json_that_a_bundle_may_not_hold_is_refused_here_too(tmp_path, extra, word):
    path = tmp_path / "config.json"
    content = json.dumps({k: v for k, v in named_config("nano").to_dict().items() if k != "name"})
    path.write_text(f"{content[:-1]}, {extra}}}")
    error = _run("--config", str(path)).exception
    assert isinstance(error, ConfigError)
    assert word in str(error)
    assert "pass a config.json" in str(error)


def test_usage_errors():
    assert isinstance(_run("nano", "--token-budget", "5").exception, TokenBudgetError)
    assert isinstance(_run("nano", "--text-tokens", "0").exception, ConfigError)
    for arguments in (
        ["huge"],
        ["nano", "--fusion", "other"],
        ["nano", "--size", "base"],
        ["nano", "--compare", "--fusion", "concat"],
        ["nano", "--config", __file__],
        ["--config", "no-such-file.json"],
    ):
        result = _run(*arguments)
        assert result.exit_code == 2
        assert "Usage" in result.output


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "config.json"
    os.mkfifo(path)
    found: list[BaseException | None] = []
    # On a thread that nobody waits for: it would wait for a writer, who never comes.
    thread = threading.Thread(
        target=lambda: found.append(_run("--config", str(path)).exception), daemon=True
    )
    thread.start()
    thread.join(30)
    assert [type(error) for error in found] == [ConfigError]
