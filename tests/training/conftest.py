"""Modules that tests of several folders share lie beside this one."""

from __future__ import annotations

import pathlib
import sys

_HERE = str(pathlib.Path(__file__).parent)
if _HERE not in sys.path:
    # published_files.py, damaged_files.py.
    sys.path.append(_HERE)
