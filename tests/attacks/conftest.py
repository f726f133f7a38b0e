"""What the attacks share lies beside them, in `damage.py`."""

from __future__ import annotations

import pathlib
import sys

HERE = str(pathlib.Path(__file__).parent)
if HERE not in sys.path:
    sys.path.append(HERE)
