"""The plot of a run's shares: what it reads of the log, and what it says of a log that is none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tokenfuse_sdk.errors import OutputPathError
from tokenfuse_training.errors import DataError
from tokenfuse_training.sampling_plot import plot_sampling, read_courses


def write(path, lines, end="\n"):
    path.write_text("\n".join(json.dumps(line) for line in lines) + end)
    return path


def lines():
    for step in range(50, 2050, 50):
        yield {
            "step": step,
            "stage": "pretrain",
            "loss": 2.0,
            "probability/caption": 0.5 + step / 5000,
            "probability/match": 0.5 - step / 5000,
            "task_loss/caption": 4.0 - step / 1000,
            "difficulty/caption": 1.0,
            "right/match/yes": 0.5,
        }
    yield {"step": 2050, "stage": "finetune", "probability/vqa": 1}


def test_courses_are_read_by_panel_and_task(tmp_path):
    courses = read_courses(write(tmp_path / "log.jsonl", lines()))
    assert {panel: set(tasks) for panel, tasks in courses.items()} == {
        "probability": {"caption", "match", "vqa"},
        "task_loss": {"caption"},
        "difficulty": {"caption"},
    }
    steps, values = courses["probability"]["match"]
    assert steps == list(range(50, 2050, 50))
    assert values == [0.5 - step / 5000 for step in steps]
    # What was half written when a run was killed is not read.
    half = write(tmp_path / "half.jsonl", lines(), end='\n{"step": 2100, "probab')
    assert read_courses(half) == courses


FIRST, SECOND = (31, 119, 180), (255, 127, 14)


def colors(log, *, second=False):
    """Colour of the plot, or of the second of two panels, to number of pixels."""
    from PIL import Image

    png = log.with_suffix(".png")
    plot_sampling(log, png)
    with Image.open(png) as image:
        assert image.format == "PNG"
        part = image.crop((0, image.height // 2, *image.size)) if second else image
        return {color: count for count, color in part.convert("RGB").getcolors(1 << 24)}


def test_the_plot_is_a_picture_with_every_task_in_it(tmp_path):
    both = colors(write(tmp_path / "log.jsonl", lines()))
    assert FIRST in both and SECOND in both
    one = [{"step": n, "probability/a": 1.0} for n in (1, 2)]
    alone = colors(write(tmp_path / "one.jsonl", one))
    assert FIRST in alone and SECOND not in alone
    assert not list(tmp_path.glob(".*"))


def test_a_value_that_stands_alone_is_seen(tmp_path):
    values = {"probability/a": 1.0, "task_loss/a": 2.0}
    log = write(tmp_path / "log.jsonl", [{"step": 20} | values])
    # The legend stands by the first panel, so all that the second has is its value.
    assert colors(log, second=True)[FIRST] > 4


def test_no_line_is_drawn_where_a_task_was_not_there(tmp_path):
    steps = [*range(1, 11), *range(91, 101)]
    shares = [{"step": n, "probability/a": 1.0} for n in range(1, 101)]
    whole = colors(write(tmp_path / "whole.jsonl", shares))
    ends = colors(write(tmp_path / "ends.jsonl", [shares[n - 1] for n in steps]))
    # Both have the sign in the legend.
    assert 0 < ends[FIRST] < whole[FIRST] / 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("", "no key probability"),
        ('{"step": 1, "loss": 2.0}\n', "no key probability"),
        ('{"step": 1}\nnot json\n', "line 2 is not JSON"),
        ('{"probability/a": 1.0}\n', "step=None"),
        ('{"step": 1, "probability/a": "x"}\n', "need a number"),
        ('{"step": 1, "probability/a": NaN}\n', "NaN"),
    ],
)
def test_a_log_that_is_none(text, said, tmp_path):
    log = tmp_path / "log.jsonl"
    if text is not None:
        log.write_text(text)
    with pytest.raises(DataError, match=said):
        plot_sampling(log, tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()


def test_a_path_that_no_file_can_have(tmp_path):
    log = write(tmp_path / "log.jsonl", lines())
    with pytest.raises(OutputPathError, match="the plot cannot be written"):
        plot_sampling(log, tmp_path / "missing" / "plot.png")


def test_importing_it_loads_no_matplotlib():
    code = "import sys, tokenfuse_training.sampling_plot; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
