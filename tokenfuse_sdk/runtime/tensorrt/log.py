"""What TensorRT says, kept for our errors: nothing of it is printed."""

from __future__ import annotations

import collections
from types import ModuleType
from typing import Any

from tokenfuse_sdk.errors import DeviceError

__all__ = ["Log"]

_MAX_MESSAGES = 64
_MAX_TOLD = 1_500


class Log:
    """Collects the messages of one runtime and all that comes from it.

    Args:
        module: the flavour's, for its `ILogger`.

    Attributes:
        logger: what TensorRT takes; it must live as long as what was made with it.
    """

    def __init__(self, module: ModuleType) -> None:
        errors: collections.deque[str] = collections.deque(maxlen=_MAX_MESSAGES)
        self._errors = errors
        worst = (module.ILogger.INTERNAL_ERROR, module.ILogger.ERROR)

        class Collector(module.ILogger):  # type: ignore[name-defined, misc]
            def __init__(self) -> None:
                # As the bindings ask for: without it the C++ half is not made.
                module.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                if severity in worst:
                    errors.append(msg)

        self.logger = Collector()

    def clear(self) -> None:
        self._errors.clear()

    def failure(self, what: str, todo: str) -> DeviceError:
        """An error of a call, with what TensorRT said of it.

        Args:
            what: failed, for example "TensorRT cannot load decoder.engine".
            todo: what the user can do.
        """
        said = "; ".join(self._errors)[:_MAX_TOLD] or "it gave no reason"
        self.clear()
        return DeviceError(f"{what}: {said}. {todo}")
