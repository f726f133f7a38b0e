"""Small data sets that workers can import, and what a feed needs."""

from __future__ import annotations

import pathlib
import sys

import pytest

# Workers are new processes, which find the toys by this path too.
sys.path.append(str(pathlib.Path(__file__).parent))

from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.scenes.vocabulary import build_tokenizer


@pytest.fixture(scope="session")
def coder():
    data = build_tokenizer().to_str().encode()
    return TextCoder(data, vocab_size=128, max_text_tokens=24, max_answer_tokens=8)
