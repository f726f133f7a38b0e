"""How far TensorRT's builder is, and how it is told to stop."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

__all__ = ["BuildMonitor"]


@dataclasses.dataclass(slots=True)
class _Phase:
    parent: str | None
    num_steps: int
    done: int = 0


class BuildMonitor:
    """Follows the phases of one build. TensorRT may call it from several threads.

    Attributes:
        monitor: what TensorRT is given.
        stopped: once it is true, the build ends at its next step.
        heeded: whether the builder has heard that.
    """

    def __init__(self, module: Any) -> None:
        self.stopped = self.heeded = False
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._share, self._title = 0.0, ""
        watcher = self

        class Monitor(module.IProgressMonitor):
            def __init__(self) -> None:
                module.IProgressMonitor.__init__(self)

            def phase_start(self, name: str, parent: str | None, num_steps: int) -> None:
                watcher._start(name, parent, num_steps)

            def step_complete(self, name: str, step: int) -> bool:
                watcher._step(name, step)
                watcher.heeded |= watcher.stopped
                return not watcher.stopped

            def phase_finish(self, name: str) -> None:
                watcher._finish(name)

        self.monitor = Monitor()

    def state(self) -> tuple[float, str]:
        """How much is done, 0 to 1, never less than before; and what is being done."""
        with self._lock:
            return self._share, self._title

    def _start(self, name: str, parent: str | None, num_steps: int) -> None:
        with self._lock:
            self._phases[name] = _Phase(parent, max(num_steps, 1))
            self._title = name
            self._advance()

    def _step(self, name: str, step: int) -> None:
        with self._lock:
            if name in self._phases:
                self._phases[name].done = step + 1
                self._advance()

    def _finish(self, name: str) -> None:
        with self._lock:
            self._phases.pop(name, None)
            self._advance()

    def _advance(self) -> None:
        roots = [name for name, phase in self._phases.items() if phase.parent is None]
        self._share = max([self._share, *(self._done(name) for name in roots)])

    def _done(self, name: str) -> float:
        """The share of a phase: its steps, and what its inner phases have of the next one."""
        phase = self._phases[name]
        inner = sum(self._done(other) for other, p in self._phases.items() if p.parent == name)
        return min(1.0, (phase.done + min(1.0, inner)) / phase.num_steps)
