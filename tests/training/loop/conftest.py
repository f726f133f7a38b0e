"""What the tests of the loop share is on the path, here and in the processes that they start."""

from __future__ import annotations

import pathlib
import sys

HERE = str(pathlib.Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.append(HERE)
