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


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Seven shards of nine pictures, in six streams."""
    from toy_data import source_of, write_shard

    folder = tmp_path_factory.mktemp("shards")
    for i in range(7):
        write_shard(folder / f"cc-{i:03d}.tar", range(100 + 9 * i, 100 + 9 * (i + 1)))
    return source_of(folder, "cc-{000..006}.tar", num_streams=6, shuffle=5)
