"""The card's table of exported files: put, replaced, read back; the rest of the card stays."""

from __future__ import annotations

import dataclasses

import pytest

from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import FileRow, add_groups, files_table, read_bundle, with_files_table

CARD = "---\nlicense: apache-2.0\n---\n\n# a model\n\n| a | b |\n|---|---|\n| `x` | 1 |\n"
ROWS = (
    FileRow(
        file="onnx/fp32/decoder.onnx",
        precision="fp32",
        num_bytes=2_010_331,
        parity="max abs 3.1e-05",
        answers="16/16",
    ),
    FileRow(
        file="engines/sm_86-fp16/decoder.engine",
        precision="fp16",
        num_bytes=7,
        parity="not run: no GPU",
        answers="0/0",
    ),
)


def test_a_table_is_put_behind_the_card():
    card = with_files_table(CARD, ROWS)
    assert card.startswith(CARD)
    assert card[len(CARD) :] == (
        "\n<!-- exported files -->\n"
        "## Exported files\n\n"
        "| file | precision | bytes | parity | answers |\n"
        "|---|---|---|---|---|\n"
        "| `onnx/fp32/decoder.onnx` | fp32 | 2,010,331 | max abs 3.1e-05 | 16/16 |\n"
        "| `engines/sm_86-fp16/decoder.engine` | fp16 | 7 | not run: no GPU | 0/0 |\n"
        "<!-- end of exported files -->\n"
    )
    assert files_table(card) == ROWS
    assert files_table(CARD) == ()


def test_a_table_is_replaced_where_it_stands():
    more = "\n## Limits\n\nNone.\n"
    card = with_files_table(CARD, ROWS) + more
    assert with_files_table(card, ROWS) == card
    changed = with_files_table(card, ROWS[:1])
    assert files_table(changed) == ROWS[:1]
    assert changed.startswith(CARD)
    assert changed.endswith(more)
    assert with_files_table(changed, ()) == CARD + more
    assert with_files_table(CARD, ()) == CARD


def test_a_bundle_takes_it(bundle):
    add_groups(
        bundle, bundle, {}, card=with_files_table(read_bundle(bundle).card, ROWS), overwrite=True
    )
    assert files_table(read_bundle(bundle).card) == ROWS


@pytest.mark.parametrize("field", ["file", "precision", "parity", "answers"])
@pytest.mark.parametrize(
    "value", ["", " a", "a|b", "a\nb", "`", "<!-- -->", "[a](b)", "\x1b", "x" * 201, None]
)
def test_what_cannot_stand_in_a_table(field, value):
    with pytest.raises(errors.BundleFormatError, match="cannot stand"):
        dataclasses.replace(ROWS[0], **{field: value})


@pytest.mark.parametrize(
    "damage",
    [
        lambda card: card.replace("<!-- exported files -->", ""),
        lambda card: card.replace("<!-- end of exported files -->", ""),
        lambda card: card + card,
        lambda card: card.replace("\n<!-- end", " <!-- end"),
    ],
)
def test_a_damaged_table_is_told(damage):
    card = damage(with_files_table(CARD, ROWS))
    for call in (lambda: files_table(card), lambda: with_files_table(card, ROWS)):
        with pytest.raises(errors.BundleFormatError, match="damaged"):
            call()


def test_a_row_that_somebody_edited_is_told():
    card = with_files_table(CARD, ROWS).replace("| 16/16 |", "| 16/16 | mine |")
    with pytest.raises(errors.BundleFormatError, match="has the row"):
        files_table(card)
    assert files_table(with_files_table(card, ROWS)) == ROWS
