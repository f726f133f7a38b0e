"""Arrays of others on the device, as TensorRT's executor takes them: on an emulated GPU."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from emulated_cuda import EmulatedCuda

from tokenfuse_sdk.errors import ImageFormatError, OpError
from tokenfuse_sdk.model.answers import write_at_once
from tokenfuse_sdk.model.batches import answer_batches
from tokenfuse_sdk.model.facts import Facts
from tokenfuse_sdk.model.pictures import encode


class Shown:
    """Memory of somebody else's, by `__cuda_array_interface__` alone."""

    def __init__(self, cuda: EmulatedCuda, array: np.ndarray, **shown) -> None:
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (cuda.array_of(array), False),
            "version": 3,
            **shown,
        }


def test_an_array_on_the_device_is_used_where_it_lies(device, inputs, check):
    images_BHW3, _, _ = inputs
    want_ND = device.runtime.encode_image(images_BHW3[0], 8)
    shown = Shown(device.cuda, images_BHW3[:1])
    before = len(device.cuda.live("device"))
    value = device.executor.put(shown)
    outputs = device.executor.run("image_encoder", {"image_BHW3": value}, ["f_BND"])
    check(device.executor.get(outputs["f_BND"])[0], want_ND, 1e-6)
    _, addresses = device.context("image_encoder").runs[-1]
    assert addresses["image_BHW3"] == shown.__cuda_array_interface__["data"][0]
    assert len(device.cuda.live("device")) == before


def test_the_stream_of_an_array_is_waited_for(device, inputs, check):
    images_BHW3, _, _ = inputs
    want_ND = device.runtime.encode_image(images_BHW3[0], 8)
    shown = Shown(device.cuda, np.zeros_like(images_BHW3[:1]))
    facts = shown.__cuda_array_interface__
    address, num_bytes = facts["data"][0], images_BHW3[:1].nbytes
    _, stream = device.cuda.cudaStreamCreateWithFlags(1)

    def written() -> None:
        target = device.cuda.bytes_at(address, num_bytes, "device")
        target[...] = images_BHW3[0].reshape(-1).view(np.uint8)

    device.cuda.enqueue(stream, written)
    shown.__cuda_array_interface__ = facts | {"stream": stream}
    outputs = device.executor.run(
        "image_encoder", {"image_BHW3": device.executor.put(shown)}, ["f_BND"]
    )
    check(device.executor.get(outputs["f_BND"])[0], want_ND, 1e-6)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"strides": (4, 8)}, "has the strides"),
        ({"typestr": "<f8"}, "has the type '<f8'"),
        ({"mask": object()}, "has a mask"),
        ({"data": (0, False)}, "begins at the address 0"),
    ],
)
def test_arrays_on_the_device_that_cannot_be_used(device, change, match):
    shown = Shown(device.cuda, np.zeros((2, 3), np.float32), **change)
    with pytest.raises(OpError, match=match):
        device.executor.put(shown)


def test_an_interface_that_lacks_a_part(device):
    shown = Shown(device.cuda, np.zeros(2, np.float32))
    del shown.__cuda_array_interface__["typestr"]
    with pytest.raises(OpError, match="without typestr"):
        device.executor.put(shown)


class Tensor(ctypes.Structure):
    """DLManagedTensor as its documentation has it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("type", ctypes.c_uint8 * 4),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class Producer:
    """Shows memory on the device by DLPack from before 1.0, 16 bytes behind where it begins."""

    def __init__(self, cuda: EmulatedCuda, array: np.ndarray, *, code: int = 2) -> None:
        self.streams: list[int] = []
        padded = np.concatenate([np.zeros(4, np.float32), array.reshape(-1)])
        self.address = cuda.array_of(padded) + 16
        self.shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        self.tensor = Tensor(
            data=self.address - 16,
            device=(2, 0),
            ndim=array.ndim,
            type=(code, 32, 1, 0),
            shape=self.shape,
            byte_offset=16,
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return tuple(self.tensor.device)

    def __dlpack__(self, *, stream: int):
        self.streams.append(stream)
        shown = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        new = ctypes.PYFUNCTYPE(ctypes.py_object, *shown)(("PyCapsule_New", ctypes.pythonapi))
        return new(ctypes.addressof(self.tensor), b"dltensor", None)


def test_an_array_by_dlpack(device, inputs, check):
    images_BHW3, _, _ = inputs
    want_ND = device.runtime.encode_image(images_BHW3[0], 8)
    producer = Producer(device.cuda, images_BHW3[:1])
    value = device.executor.put(producer)
    assert (value.address, value.shape) == (producer.address, images_BHW3[:1].shape)
    # Who shows it makes it ready for our stream.
    assert producer.streams == [value.stream]
    outputs = device.executor.run("image_encoder", {"image_BHW3": value}, ["f_BND"])
    check(device.executor.get(outputs["f_BND"])[0], want_ND, 1e-6)


def test_arrays_by_dlpack_that_cannot_be_used(device):
    array = np.zeros((2, 3), np.float32)
    with pytest.raises(OpError, match="type code 1 of 32 bits"):
        device.executor.put(Producer(device.cuda, array, code=1))
    producer = Producer(device.cuda, array)
    producer.tensor.device = (2, 1)
    with pytest.raises(OpError, match="device type 2, number 1"):
        device.executor.put(producer)
    strides = (ctypes.c_int64 * 2)(1, 2)
    producer = Producer(device.cuda, array)
    producer.tensor.strides = strides
    with pytest.raises(OpError, match=r"strides \(1, 2\) in elements for the shape \(2, 3\)"):
        device.executor.put(producer)


def test_a_model_takes_a_prepared_picture_where_it_lies(device, inputs, small_exported, check):
    images_BHW3, _, _ = inputs
    facts = Facts.of(small_exported)
    text_ids = np.array([5, 9, 1], np.int32)
    want_ND = device.runtime.encode_image(images_BHW3[0], 2)
    want_ids, _ = device.runtime.generate(want_ND, text_ids, 4)
    shown = Shown(device.cuda, images_BHW3[:1])
    check(encode(facts, device.runtime, shown, 2).f_ND, want_ND, 1e-6)
    _, addresses = device.context("image_encoder").runs[-1]
    assert addresses["image_BHW3"] == shown.__cuda_array_interface__["data"][0]
    answer, picture = write_at_once(
        facts, device.runtime, shown, 2, text_ids, question="?", max_tokens=4, began=0.0
    )
    check(picture.f_ND, want_ND, 1e-6)
    assert answer.text == facts.tokenizer.decode(want_ids)


def test_pictures_on_the_device_that_are_not_taken(device, inputs, small_exported):
    images_BHW3, _, _ = inputs
    facts = Facts.of(small_exported)
    side = small_exported.config.vision.image_size
    for wrong in (images_BHW3[0], images_BHW3[:2], images_BHW3[:1, 1:], np.zeros(3, np.int32)):
        with pytest.raises(ImageFormatError, match=rf"need a prepared one, float32 \[1, {side},"):
            encode(facts, device.runtime, Shown(device.cuda, np.ascontiguousarray(wrong)), 2)
    with pytest.raises(ImageFormatError, match="pass its tokens"):
        answer_batches(
            facts,
            device.runtime,
            [(Shown(device.cuda, images_BHW3[:1]), "is there a star?")],
            token_budget=None,
            default=2,
            max_tokens=4,
        )
