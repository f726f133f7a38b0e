"""ONNX Runtime as a `GraphExecutor`: one session for each graph, values that stay where it runs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import DeviceError, TokenfuseError, UnsupportedModelError
from tokenfuse_sdk.graphs import GRAPHS
from tokenfuse_sdk.runtime.graphs.failure import failure_told

__all__ = ["BATCHES", "INSTALL", "OnnxRuntimeExecutor", "load_onnxruntime"]

# Not an extra of ours: the name of this package may be another's on an index.
INSTALL = "pip install onnxruntime"
# Members of one call: it takes any number, but memory grows with it.
BATCHES = tuple(range(1, 9))
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Their tensors are in CUDA's memory.
ON_CUDA = frozenset({CUDA, "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"})
# What a model's time goes into, with the parts of an RMS norm. A GPU leaves arithmetic on shapes to
# the CPU, which is no fallback.
_WORK = frozenset(
    {
        "Conv",
        "Gelu",
        "Gemm",
        "LayerNormalization",
        "MatMul",
        "Pow",
        "ReduceMean",
        "Softmax",
        "Sqrt",
    }
)
# Of its logs: what it would write to standard error is in its exceptions, too.
_NOTHING = 4
# Of `SessionOptions`; older ones have it not.
_FROM_MEMORY = "add_external_initializers_from_files_in_memory"


def load_onnxruntime() -> ModuleType:
    """The package, loaded where it is first used.

    Raises:
        DeviceError: it is not there, or does not load; says why and what to do.
    """
    is_first = "onnxruntime" not in sys.modules
    try:
        module = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise DeviceError(
            f"backend='onnxruntime' needs the package onnxruntime ({error}): {INSTALL}"
        ) from error
    if is_first:
        # Of the process: whoever loaded it before us may want to read its warnings.
        module.set_default_logger_severity(_NOTHING)
    return module


def _failure_told(what: str) -> AbstractContextManager[None]:
    """Its errors share no base, and say at their beginning what is wrong."""
    return failure_told(f"ONNX Runtime cannot {what}", Exception, _kind_of, line=0)


def _kind_of(error: Exception) -> type[TokenfuseError]:
    if type(error).__name__ in ("NotImplemented", "InvalidGraph", "InvalidProtobuf"):
        return UnsupportedModelError
    return DeviceError


class OnnxRuntimeExecutor:
    """Runs graphs by ONNX Runtime, on the providers that are named and no others.

    Calls from several threads run side by side. Between calls no thread spins. A child of `fork`
    has none of the sessions' threads, in which a call would wait for ever: it is an error there.

    Args:
        files: contents of `<graph>.onnx` for each graph, and of `<graph>.onnx.data` where
            weights are apart; not needed any more afterwards.
        providers: of ONNX Runtime, the preferred one first. The CPU computes what others do not
            have only where it is named.
        num_threads: that one call uses on a CPU.
        folder: where the files lie; only an ONNX Runtime that cannot take weights from memory
            needs it.

    Raises:
        DeviceError: the package or a provider is not there, or fails.
        UnsupportedModelError: it has not all that the graphs need.
    """

    def __init__(
        self,
        files: Mapping[str, memoryview],
        *,
        providers: Sequence[str],
        num_threads: int,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self._module, self._process = load_onnxruntime(), os.getpid()
        self._providers = tuple(providers)
        self._device = "cuda" if self._providers[0] in ON_CUDA else "cpu"
        self._num_bytes = sum(len(data) for data in files.values())
        self._sessions = {
            graph: self._session(graph, files, num_threads, folder) for graph in GRAPHS
        }
        self._run_options = self._module.RunOptions()
        # The token map is computed only where it is asked for.
        self._run_options.only_execute_path_to_fetches = True
        self._run_options.log_severity_level = _NOTHING

    def _session(
        self,
        graph: str,
        files: Mapping[str, memoryview],
        num_threads: int,
        folder: str | os.PathLike[str] | None,
    ) -> Any:
        options = self._module.SessionOptions()
        options.log_severity_level = _NOTHING
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
        # Each session has threads of its own: those of one must not spin while another runs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # On x86 without VNNI its kernels for 8 bits would saturate, and answer unlike other CPUs.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self._forbid_fallback(options)
        weights = f"{graph}.onnx.data"
        if weights in files:
            self._give_weights(options, weights, files[weights], folder)
        with _failure_told(f"open {graph}.onnx"):
            session = self._module.InferenceSession(
                bytes(files[f"{graph}.onnx"]),
                options,
                providers=list(self._providers),
                # Its own fallback would print, and run elsewhere.
                enable_fallback=0,
                # No settings from the file or the environment.
                read_config_from_model=0,
            )
        self._check_placed(graph, session)
        # It keeps the bytes for a fallback that is off.
        session._model_bytes = None
        return session

    def _give_weights(
        self,
        options: Any,
        name: str,
        data: memoryview,
        folder: str | os.PathLike[str] | None,
    ) -> None:
        if hasattr(options, _FROM_MEMORY):
            array = np.frombuffer(data, np.uint8)
            getattr(options, _FROM_MEMORY)([name], [array], [array.size])
            return
        if folder is None:
            raise DeviceError(
                f"onnxruntime {self._module.__version__} takes no weights from memory, and "
                f"{name} has some; {INSTALL.replace('install', 'install --upgrade')}"
            )
        # It opens the file by its name: one who may write to the folder can exchange it between
        # our check and that.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", os.fspath(folder)
        )

    @property
    def _tells_placement(self) -> bool:
        session = self._module.InferenceSession
        return hasattr(session, "get_provider_graph_assignment_info")

    def _forbid_fallback(self, options: Any) -> None:
        if CPU in self._providers:
            return
        if self._tells_placement:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        else:
            # Older ones can only refuse every node on the CPU, arithmetic on shapes too.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")

    def _check_placed(self, graph: str, session: Any) -> None:
        """Raise DeviceError where it runs elsewhere than it was told to."""
        got = session.get_providers()
        missing = [name for name in self._providers if name not in got]
        if missing:
            raise DeviceError(
                f"ONNX Runtime opened {graph}.onnx without {', '.join(missing)}, on "
                f"{', '.join(got)}: its libraries do not load, or its device is not there"
            )
        if CPU in self._providers or not self._tells_placement:
            return
        fallen = {
            node.op_type
            for part in session.get_provider_graph_assignment_info()
            for node in part.get_nodes()
            if part.ep_name == CPU and node.op_type in _WORK
        }
        if fallen:
            raise DeviceError(
                f"{', '.join(self._providers)} has no {', '.join(sorted(fallen))} of "
                f"{graph}.onnx, and the CPU was not asked for; name {CPU} behind it to allow that"
            )

    def put(self, array: NDArray[Any]) -> Any:
        return self._module.OrtValue.ortvalue_from_numpy(array, self._device, 0)

    def get(self, value: Any) -> NDArray[Any]:
        # `numpy` gives a view of the value's memory where that is the host's.
        return np.array(value.numpy())

    def run(self, graph: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        if os.getpid() != self._process:
            raise DeviceError(
                "ONNX Runtime's threads did not come along with the fork; load the model in the "
                "new process, or use backend='native'"
            )
        session = self._sessions[graph]
        with _failure_told(f"run {graph}.onnx"):
            binding = session.io_binding()
            for name, value in inputs.items():
                binding.bind_ortvalue_input(name, value)
            for name in outputs:
                binding.bind_output(name, self._device, 0)
            session.run_with_iobinding(binding, self._run_options)
            return dict(zip(outputs, binding.get_outputs(), strict=True))

    def memory_report(self) -> dict[str, int]:
        return {"graph_file_bytes": self._num_bytes}

    def close(self) -> None:
        self._sessions = {}
