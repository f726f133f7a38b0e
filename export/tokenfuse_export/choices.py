"""What arguments may be, for the command line too: its `--help` loads no exporter."""

from __future__ import annotations

__all__ = ["CURRENT", "MAX_BATCH", "RUNTIMES"]

# All that a verification may compare with PyTorch.
RUNTIMES = ("native", "onnxruntime", "openvino", "tensorrt")
# Of pictures or questions in one call of an engine; device memory grows with it.
MAX_BATCH = 256
# The target that is the GPU of this machine.
CURRENT = "current"
