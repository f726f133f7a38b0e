"""How many records may be bad: up to a share, and to what chance adds to it."""

from __future__ import annotations

import pytest
from toy_data import Numbers, Say, read, stage_of

from tokenfuse_training.errors import TooManyBadRecordsError


def test_too_many_bad_records_are_an_error_that_names_them(coder):
    parts = (
        stage_of({"say": "numbers"}, batch_size=10),
        {"say": Say()},
        {"numbers": Numbers(100, bad=(8, 17, 56))},
    )
    # 3 of 100 in every epoch: within 3%, and within what chance adds to 2% of the first few.
    for share in (0.03, 0.02):
        found, _ = read(parts, coder, num_steps=40, max_bad_shares={"numbers": share})
        assert sum(batch.num_bad["say"] for _, batch in found) == 4 * 3
        assert all(len(batch.keys) == 10 - batch.num_bad["say"] for _, batch in found)
    # 3 are more than 0.1 + 4 * sqrt(0.1) of a hundred; where none may be bad, one is too many.
    for share, said in ((0.001, "0.10%"), (0.0, "0.00%")):
        with pytest.raises(TooManyBadRecordsError, match="3 of 100 records") as caught:
            read(parts, coder, num_steps=40, max_bad_shares={"numbers": share})
        for words in ("numbers", said, "number 8 is bad", "number 56 is bad", "max_bad_share"):
            assert words in str(caught.value)


@pytest.mark.parametrize(("batch_size", "steps_until_error"), [(8, 1), (4, 25)])
def test_a_data_set_of_which_nothing_can_be_used_is_told_soon(coder, batch_size, steps_until_error):
    nothing = Numbers(100, bad=tuple(range(100)))
    parts = (stage_of({"say": "n"}, batch_size=batch_size), {"say": Say()}, {"n": nothing})
    if steps_until_error > 1:
        found, _ = read(parts, coder, num_steps=steps_until_error - 1)
        assert all(float(batch.weight_R.sum()) == 0 for _, batch in found)
    with pytest.raises(TooManyBadRecordsError, match="number"):
        read(parts, coder, num_steps=steps_until_error)


@pytest.mark.parametrize(
    ("share", "batch_size", "told"),
    # 0.3 ** 8 comes every fifteen thousand steps, 0.3 ** 18 never; all may be bad at 1.
    [(0.01, 8, True), (0.3, 8, False), (0.3, 17, False), (0.3, 18, True), (1.0, 64, False)],
)
def test_a_batch_of_bad_records_is_told_where_chance_is_ruled_out(coder, share, batch_size, told):
    nothing = Numbers(100, bad=tuple(range(100)))
    parts = (stage_of({"say": "n"}, batch_size=batch_size), {"say": Say()}, {"n": nothing})
    options = {"num_steps": 1, "max_bad_shares": {"n": share}}
    if told:
        with pytest.raises(TooManyBadRecordsError, match=f"{batch_size} of {batch_size} records"):
            read(parts, coder, **options)
    else:
        found, _ = read(parts, coder, **options)
        assert found[0][1].num_bad == {"say": batch_size}


def test_where_all_may_be_bad_nothing_is_an_error(coder):
    nothing = Numbers(100, bad=tuple(range(100)))
    parts = (stage_of({"say": "n"}, batch_size=50), {"say": Say()}, {"n": nothing})
    found, _ = read(parts, coder, num_steps=6, max_bad_shares={"n": 1.0})
    assert len(found) == 6
