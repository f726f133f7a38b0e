"""What the tests share lies beside them, in `pictures.py`."""

from __future__ import annotations

import pathlib
import sys

HERE = str(pathlib.Path(__file__).parent)
if HERE not in sys.path:
    sys.path.append(HERE)
