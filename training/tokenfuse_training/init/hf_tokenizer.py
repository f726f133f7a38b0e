"""A T5's tokenizer as a tokenizer.json that a bundle may hold.

A bundle has neither SentencePiece's table of characters nor a post-processor (see
`tokenfuse_sdk/tokenizer.py`). The table is replaced by NFKC, after a look that it is that; the
end id is appended by the SDK itself.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from tokenfuse_sdk.strict_json import parse_object
from tokenfuse_training.errors import InitError
from tokenfuse_training.init.charsmap import differs_from_nfkc
from tokenfuse_training.init.spiece import read_spiece

__all__ = ["from_spiece", "from_tokenizer_json"]

_SPACE = "\u2581"
_METASPACE = {
    "type": "Metaspace",
    "replacement": _SPACE,
    "prepend_scheme": "always",
    "split": True,
}
_SPLIT = {"type": "WhitespaceSplit"}


def _nfkc(table: bytes, name: str) -> dict[str, str]:
    odd = differs_from_nfkc(table)
    if odd is not None:
        raise InitError(
            f"{name} normalises {odd!r} otherwise than NFKC, which is what a bundle can do; use "
            "the tokenizer of a T5"
        )
    return {"type": "NFKC"}


def from_spiece(data: bytes, name: str, num_extra_ids: int) -> bytes:
    """A `spiece.model` as a tokenizer.json: its pieces, then `<extra_id_N>` with N falling.

    Args:
        data: the file.
        name: for messages.
        num_extra_ids: 100 for a published T5.

    Raises:
        InitError: damaged, or not a T5's.
    """
    model = read_spiece(data, name)
    extra = [f"<extra_id_{i}>" for i in reversed(range(num_extra_ids))]
    vocabulary = [*model.pieces, *((text, 0.0) for text in extra)]
    ids = {text: i for i, (text, _) in enumerate(vocabulary)}
    special = [text for text in ("<pad>", "</s>", "<unk>", *extra) if text in ids]
    layout = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": ids[text],
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for text in special
        ],
        "normalizer": _nfkc(model.table, name) if model.table else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [_SPLIT, _METASPACE]},
        "post_processor": None,
        "decoder": _METASPACE,
        "model": {
            "type": "Unigram",
            "unk_id": model.unknown_id,
            "vocab": vocabulary,
            "byte_fallback": False,
        },
    }
    return json.dumps(layout, ensure_ascii=False).encode()


def from_tokenizer_json(data: bytes, name: str) -> bytes:
    """A tokenizer.json without what a bundle does not have; as it is where it has nothing of it.

    Raises:
        BundleFormatError: no JSON object.
        InitError: a table of characters that is not NFKC.
    """
    layout = parse_object(data, name)
    splits = _SPLIT in _parts(layout.get("pre_tokenizer"), "pretokenizers")
    normalizers = _parts(layout.get("normalizer"), "normalizers")
    kept = [_normalizer(part, name) for part in normalizers if not (splits and _is_spaces(part))]
    changed = dict(layout)
    if kept != normalizers:
        one = kept[0] if len(kept) == 1 else {"type": "Sequence", "normalizers": kept}
        changed["normalizer"] = one if kept else None
    if _appends_end(layout.get("post_processor")):
        changed["post_processor"] = None
    if changed == layout:
        return data
    return json.dumps(changed, ensure_ascii=False).encode()


def _parts(component: Any, key: str) -> list[Any]:
    """The parts of a sequence; a part alone is one of one."""
    if component is None:
        return []
    if isinstance(component, dict) and component.get("type") == "Sequence":
        parts = component.get(key)
        return parts if isinstance(parts, list) else [component]
    return [component]


def _normalizer(part: Any, name: str) -> Any:
    if not isinstance(part, dict) or part.get("type") != "Precompiled":
        return part
    table = part.get("precompiled_charsmap")
    try:
        return _nfkc(
            base64.b64decode(table if isinstance(table, str) else "-", validate=True), name
        )
    except binascii.Error as error:
        raise InitError(f"{name} has a damaged table of characters: {error}") from error


def _is_spaces(part: Any) -> bool:
    """Whether it only merges spaces, or strips them: a split at spaces does that as well."""
    if not isinstance(part, dict):
        return False
    several = {"type": "Replace", "pattern": {"Regex": " {2,}"}}
    return part.get("type") == "Strip" or (
        {key: part.get(key) for key in several} == several and part.get("content") in (" ", _SPACE)
    )


def _appends_end(part: Any) -> bool:
    """Whether a post-processor appends `</s>` to a text, and does nothing else."""
    if not isinstance(part, dict) or part.get("type") != "TemplateProcessing":
        return False
    single = part.get("single")
    if not isinstance(single, list) or len(single) != 2:
        return False
    first, last = single
    return (
        isinstance(first, dict)
        and isinstance(last, dict)
        and first.get("Sequence") == {"id": "A", "type_id": 0}
        and last.get("SpecialToken") == {"id": "</s>", "type_id": 0}
    )
