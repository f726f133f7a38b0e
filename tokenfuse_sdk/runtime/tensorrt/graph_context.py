"""One graph of one thread: profile, shapes and addresses are set where they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenfuse_sdk.runtime.tensorrt.engine import Engine
from tokenfuse_sdk.runtime.tensorrt.memory import Block, Pool
from tokenfuse_sdk.runtime.tensorrt.values import DeviceValue, Shape

__all__ = ["GraphContext"]


class GraphContext:
    """Runs an engine in one stream.

    Outputs get blocks of the pool, each as large as the profile's largest shape asks for: after
    a profile's first calls nothing is allocated, and a cache that grows goes back and forth
    between two blocks.

    Args:
        engine: loaded.
        stream: of the thread.
        pool: device memory of that stream.
    """

    def __init__(self, engine: Engine, stream: int, pool: Pool) -> None:
        self._engine, self._stream, self._pool = engine, stream, pool
        self._context = engine.open_context()
        # The profile of a new context is 0, but its outputs' sizes are not known yet.
        self._profile: int | None = None
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        # By profile: output to the bytes of its largest shape.
        self._sizes: dict[int, dict[str, int]] = {}

    def run(
        self, inputs: Mapping[str, DeviceValue], outputs: Sequence[str]
    ) -> dict[str, DeviceValue]:
        """The outputs that are asked for; all that the engine has are computed.

        Raises:
            UnsupportedModelError: the engine was not built for these shapes.
            DeviceError: TensorRT failed; says at what.
        """
        engine, context = self._engine, self._context
        engine.check_outputs(outputs)
        shapes = {name: inputs[name].shape for name in engine.inputs}
        self._use(engine.profiles.choose(shapes))
        for name, shape in shapes.items():
            self._set_shape(name, shape)
            self._set_address(name, inputs[name].address)
        blocks: dict[str, Block] = {}
        assert self._profile is not None
        for name, num_bytes in self._sizes[self._profile].items():
            blocks[name] = self._pool.take(num_bytes)
            self._set_address(name, blocks[name].address)
        values = {
            name: DeviceValue(
                address=blocks[name].address,
                shape=context.shape_of(name),
                dtype=engine.tensors[name].dtype,
                stream=self._stream,
                owner=blocks[name],
            )
            for name in outputs
        }
        context.run(self._stream)
        return values

    def _use(self, index: int) -> None:
        """The profile, and what its outputs take at most."""
        if index == self._profile:
            return
        engine, context = self._engine, self._context
        # Until it is done: a failure between must not leave the old one for the truth.
        self._profile = None
        context.use_profile(index, self._stream)
        self._shapes.clear()
        self._addresses.clear()
        if index not in self._sizes:
            for name, shape in engine.profiles[index].most.items():
                self._set_shape(name, shape)
            self._sizes[index] = {name: context.most_bytes(name) for name in engine.outputs}
        self._profile = index

    def _set_shape(self, name: str, shape: Shape) -> None:
        if self._shapes.get(name) != shape:
            self._context.set_shape(name, shape)
            self._shapes[name] = shape

    def _set_address(self, name: str, address: int) -> None:
        if self._addresses.get(name) != address:
            self._context.set_address(name, address)
            self._addresses[name] = address
