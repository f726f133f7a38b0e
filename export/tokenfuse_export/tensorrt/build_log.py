"""What TensorRT says while it builds: warnings and errors, and the facts that only its log has."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["BuildLog"]

# Begins the lines of an engine's layers: in TensorRT-RTX, in TensorRT.
_LAYERS = ("Layers:\n", "Engine Layer Information:\n")
_MEMORY = re.compile(r"Total (Activation|Weights) Memory: (\d+) bytes")


def _one_line(message: str) -> str:
    """Names in it are those of an ONNX file: nothing that moves a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in message).strip()


class BuildLog:
    """Listens to one build; nothing is printed.

    Attributes:
        logger: what TensorRT is given.
        warnings: each once, in order.
        errors: in order.
        layers: the text of the engine's layers; "" until it is built.
        activation_bytes: the most that a profile needs for what it computes.
        weights_bytes: of all profiles together.
    """

    def __init__(self, module: Any) -> None:
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.layers = ""
        self.activation_bytes = self.weights_bytes = 0
        heard, severity = self, module.ILogger

        class Logger(module.ILogger):
            def __init__(self) -> None:
                module.ILogger.__init__(self)

            def log(self, level: Any, message: str) -> None:
                if level in (severity.INTERNAL_ERROR, severity.ERROR):
                    heard.errors.append(_one_line(message))
                elif level == severity.WARNING:
                    if _one_line(message) not in heard.warnings:
                        heard.warnings.append(_one_line(message))
                else:
                    heard._note(message)

        self.logger = Logger()

    def _note(self, message: str) -> None:
        if message.startswith(_LAYERS):
            self.layers = message
        elif found := _MEMORY.match(message):
            kind, size = found[1], int(found[2])
            if kind == "Weights":
                self.weights_bytes = size
            else:
                # Each profile says its own.
                self.activation_bytes = max(self.activation_bytes, size)
