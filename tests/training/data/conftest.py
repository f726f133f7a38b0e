"""Small data sets that workers can import, and what a feed needs."""

from __future__ import annotations

import pathlib
import sys

import pytest

# Workers are new processes, which find the toys by this path too.
sys.path.append(str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="session")
def coder():
    from toy_data import scenes_coder

    return scenes_coder()
