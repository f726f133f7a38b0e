"""Medians, quartiles and ratios against NumPy; the rules of ids."""

from __future__ import annotations

import numpy as np
import pytest
from plot import save_plot
from report import AnswersRow, Row, as_json, print_answers, print_rows, row_of
from work import Inputs, forced, greedy, until_end


def _row(name: str, rounds: np.ndarray) -> Row:
    return row_of(
        rounds.tolist(),
        name=name,
        precision="fp32",
        batch=1,
        threads=1,
        max_abs_err=0.0,
        relative_err=0.0,
    )


@pytest.fixture
def rows() -> list[Row]:
    rng = np.random.default_rng(0)
    seconds = rng.uniform(1, 2, (3, 9, 5)) * np.array([1.0, 2.0, 3.0])[:, None, None]
    names = ("tokenfuse", "slow", "slower")
    return [_row(name, own) for name, own in zip(names, seconds, strict=True)]


def test_a_row_is_of_the_rounds_medians():
    rounds = np.random.default_rng(1).uniform(1, 2, (9, 5))
    row = _row("x", rounds)
    turns = 1e3 * np.median(rounds, axis=1)
    np.testing.assert_allclose(row.turns_ms, turns)
    want = np.quantile(turns, [0.25, 0.5, 0.75])
    np.testing.assert_allclose([row.quartiles_ms[0], row.median_ms, row.quartiles_ms[1]], want)
    assert row.p95_ms == pytest.approx(1e3 * np.quantile(rounds, 0.95, method="inverted_cdf"))


def test_ratios_are_of_rounds_side_by_side_to_the_best_peer(rows):
    stored = as_json(rows)
    for fields, row in zip(stored, rows, strict=True):
        assert fields["best_peer"] == "slow fp32"
        ratios = np.divide(rows[1].turns_ms, row.turns_ms)
        assert fields["times_faster_than_best_peer"] == pytest.approx(np.median(ratios))
        np.testing.assert_allclose(fields["ratio_quartiles"], np.quantile(ratios, [0.25, 0.75]))
        assert "turns_ms" not in fields


def test_without_a_peer_there_is_no_ratio(rows, capsys):
    assert "best_peer" not in as_json(rows[:1])[0]
    print_rows("alone", rows[:1], {"nobody int8": "missing: it"})
    printed = capsys.readouterr().out
    assert "times faster" not in printed
    assert "missing: it" in printed


def test_tables_begin_with_the_fastest_and_mark_ours(rows, capsys):
    print_rows("all", rows[::-1], {})
    lines = capsys.readouterr().out.splitlines()[3:]
    assert [line.split()[0] for line in lines] == ["*", "slow", "slower"]
    print_answers(
        [AnswersRow(name="tokenfuse", precision="int8", num_questions=8, same=6, right=4)], {}
    )
    assert "75.00%     50.00%   of 8" in capsys.readouterr().out


def test_a_plot_is_a_png(rows, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the package matplotlib")
    save_plot(tmp_path / "a.png", "title", {"one": rows, "none": [], "two": rows[:1]})
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_after_the_end():
    ids = np.array([[5, 1], [1, 5], [1, 1], [5, 6]], dtype=np.int32)
    assert until_end(ids, 1).tolist() == [[5, 1], [1, 0], [1, 0], [5, 6]]


def test_greedy_and_forced_agree():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((9, 9))

    def step(ids_BA: np.ndarray) -> np.ndarray:
        return table[ids_BA]

    answer = greedy(step, 3, 0)
    assert answer.dtype == np.int32
    first = table[0].argmax()
    assert answer.tolist() == [[first, table[first].argmax()]] * 3
    np.testing.assert_array_equal(step(forced(answer, 0)).argmax(-1), answer)


def test_errors_are_relative_to_the_root_mean_square():
    logits = np.array([[[3.0, -4.0], [0.0, 0.0]]], np.float32)
    inputs = Inputs(
        image_BHW3=np.zeros((1, 1, 1, 3), np.float32),
        text_BL=np.zeros((1, 1), np.int32),
        answer_BA=np.zeros((1, 2), np.int32),
        logits_BAV=logits,
        end_id=np.int32(1),
    )
    assert inputs.error_of(logits + 0.5) == (0.5, pytest.approx(0.5 / 2.5))
