"""What an experiment has found so far: one JSON file, whole after every run."""

from __future__ import annotations

import datetime
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from timing import commit, hardware

from tokenfuse_sdk.atomic import write_file

__all__ = ["RESULTS", "Results", "by_variant"]

_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
RESULTS = pathlib.Path(__file__).resolve().parents[1] / "results"


def by_variant(data: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The runs of an experiment's file, in its order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in data["runs"].values():
        found.setdefault(run["variant"], []).append(run)
    return found


class Results:
    """Runs by name; a run that is there is done.

    Args:
        experiment: its name.
        machine: names the hardware in the file's name.
        setting: the config that all runs share, as YAML.
        num_threads: of all runs: sums of another number are rounded otherwise.
        folder: of the file.

    Results of another setting or number of threads are kept apart.
    """

    def __init__(
        self,
        experiment: str,
        machine: str,
        setting: str,
        num_threads: int,
        folder: pathlib.Path = RESULTS,
    ) -> None:
        found = None
        alike = {"setting": setting, "num_threads": num_threads}
        for path in sorted(folder.glob(f"{experiment}_{machine}_{_DATE}.json")):
            data = json.loads(path.read_text())
            if data | alike == data:
                found = path, data
        if found is None:
            today = datetime.date.today().isoformat()
            path = folder / f"{experiment}_{machine}_{today}.json"
            if path.exists():
                raise SystemExit(f"{path} holds another setting; move it away")
            data = {
                "experiment": experiment,
                "hardware": hardware(),
                **alike,
                "costs": {},
                "runs": {},
            }
            found = path, data
        self.path, self._data = found

    def get(self, kind: str) -> dict[str, Any]:
        """`runs` or `costs` that are done, by name."""
        return self._data[kind]

    def add(self, kind: str, name: str, value: dict[str, Any]) -> None:
        """Keep a result; the file is whole before and behind it."""
        self._data[kind][name] = {"commit": commit(), **value}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, json.dumps(self._data, indent=1).encode() + b"\n")
