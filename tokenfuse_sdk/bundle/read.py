"""Read a bundle, verifying before trusting: names, links, sizes, hashes, shapes, values."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from tokenfuse_sdk.background import Background
from tokenfuse_sdk.bundle.files import bundle_errors, map_file, read_file
from tokenfuse_sdk.bundle.folder import check_folder, check_groups, folder_of
from tokenfuse_sdk.bundle.groups import ENGINES, ONNX, members_of
from tokenfuse_sdk.bundle.manifest import (
    FILE_CAPS,
    MANIFEST_CAP,
    MANIFEST_NAME,
    Manifest,
    parse_manifest,
)
from tokenfuse_sdk.bundle.opening import open_group
from tokenfuse_sdk.bundle.precisions import MEASURE_AGAIN, PRECISIONS_NAME, PrecisionRecord
from tokenfuse_sdk.bundle.safetensors_file import MAX_HEADER_BYTES, read_safetensors
from tokenfuse_sdk.bundle.weights_file import WEIGHTS_NAME, mapped_weights
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import (
    BundleFormatError,
    BundleHashError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
    ConfigError,
    TensorMismatchError,
)
from tokenfuse_sdk.mapped_file import MappedFile
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.strict_json import parse_object
from tokenfuse_sdk.tokenizer import Tokenizer, is_control
from tokenfuse_sdk.weights import expected_tensors

__all__ = ["Bundle", "read_bundle", "read_manifest"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified model folder.

    Args:
        path: the folder.
        manifest: names, sizes and hashes of its files.
        config: the model's shape.
        preprocess: how pictures become arrays.
        tokenizer: text to ids and back.
        weights: name to read-only float16 or float32 array, as `expected_tensors` says: views
            of the mapped file.
        weights_file: that file.
        card: the model card, Markdown.
        golden: inputs and the reference's outputs, name to read-only array.
        precisions: how often lower precisions answered like fp32; None where the bundle does
            not say.
    """

    path: pathlib.Path
    manifest: Manifest
    config: ModelConfig
    preprocess: PreprocessConfig
    tokenizer: Tokenizer
    weights: Mapping[str, np.ndarray]
    weights_file: MappedFile = dataclasses.field(repr=False)
    card: str
    golden: Mapping[str, np.ndarray]
    precisions: PrecisionRecord | None = None

    @property
    def digest(self) -> str:
        """sha256 of the weights file: which model this is."""
        return self.manifest.files[WEIGHTS_NAME].sha256

    @property
    def size_bytes(self) -> int:
        """Bytes of all listed files."""
        return sum(entry.size for entry in self.manifest.files.values())

    @property
    def onnx_precisions(self) -> tuple[str, ...]:
        """Precisions of the ONNX graphs that are there."""
        return self._groups(ONNX)

    @property
    def engine_names(self) -> tuple[str, ...]:
        """Target and precision of the engines that are there, as "sm_86-fp16"."""
        return self._groups(ENGINES)

    def _groups(self, kind: str) -> tuple[str, ...]:
        groups = (group.split("/") for group in members_of(self.manifest.files))
        return tuple(name for folder, name in groups if folder == kind)

    def open_group(self, group: str) -> Mapping[str, MappedFile]:
        """The files of a group, verified and mapped: they are open as long as one has them.

        What an ONNX file refers to is checked as well: see `tokenfuse_sdk.onnx_file`.

        Args:
            group: "onnx/PRECISION", or "engines/" and one of `engine_names`.

        Returns:
            A file's own name to the file.

        Raises:
            BundlePathError: the format has no such group, or a graph refers to a file or to bytes
                elsewhere.
            BundleMissingFileError: the bundle has none.
            BundleHashError: a file is not the one that the manifest lists, or a graph is another
                model's.
            BundleError: a file or a graph is wrong in another way.
        """
        return open_group(self.path, self.manifest, group)

    def check_unchanged(self) -> None:
        """Raise BundleSizeError where the weights file was written to since it was verified."""
        entry = self.manifest.files[WEIGHTS_NAME]
        with bundle_errors(self.path / WEIGHTS_NAME, entry.size, entry):
            self.weights_file.check_unchanged()


def _read_precisions(
    folder: pathlib.Path, manifest: Manifest, config: ModelConfig
) -> PrecisionRecord | None:
    """The record that the manifest lists, checked against what it was measured on."""
    path = folder / PRECISIONS_NAME
    if PRECISIONS_NAME not in manifest.files:
        if os.path.lexists(path):
            raise BundlePathError(f"{path} is not listed in {MANIFEST_NAME}; remove it")
        return None
    try:
        data = read_file(path, FILE_CAPS[PRECISIONS_NAME], manifest.files[PRECISIONS_NAME])
    except (BundleHashError, BundleMissingFileError, BundleSizeError) as error:
        raise type(error)(f"{error}; {MEASURE_AGAIN}") from error
    record = PrecisionRecord.from_json(data)
    record.check_fits(
        weights_sha256=manifest.files["model.safetensors"].sha256,
        token_budgets=config.fusion.token_budgets,
    )
    return record


def _read_config(data: bytes) -> ModelConfig:
    try:
        return ModelConfig.from_dict(parse_object(data, "config.json"))
    except ConfigError as error:
        raise ConfigError(f"config.json: {error}") from error


def read_manifest(folder: pathlib.Path) -> Manifest:
    """What a bundle says that it holds, without a look at it.

    Raises:
        BundleError: it cannot be read, or says what the format does not have.
    """
    return parse_manifest(read_file(folder / MANIFEST_NAME, MANIFEST_CAP, None))


def read_bundle(path: str | os.PathLike[str], *, with_record: bool = True) -> Bundle:
    """Read and verify a bundle; nothing large is read before its size is known to be right.

    Args:
        path: the folder.
        with_record: False leaves the record of precisions unread, whatever it holds.

    Raises:
        BundleError: one of its kinds, naming the file and what is wrong with it.
        ConfigError: config.json or preprocessor_config.json holds a bad value.
    """
    folder = folder_of(path)
    in_groups = check_folder(folder)
    manifest = read_manifest(folder)
    check_groups(folder, in_groups, manifest)

    def read(name: str) -> bytes:
        return read_file(folder / name, FILE_CAPS[name], manifest.files[name])

    config = _read_config(read("config.json"))
    if manifest.name != config.name:
        raise BundleFormatError(
            f"{MANIFEST_NAME} has the name {manifest.name!r}, config.json {config.name!r}; export "
            "the bundle again"
        )
    preprocess = PreprocessConfig.from_dict(
        parse_object(read("preprocessor_config.json"), "preprocessor_config.json")
    )
    if preprocess.image_size != config.vision.image_size:
        raise ConfigError(
            f"preprocessor_config.json makes {preprocess.image_size} pixels; config.json needs "
            f"{config.vision.image_size}"
        )
    precisions = _read_precisions(folder, manifest, config) if with_record else None
    expected = expected_tensors(config)
    # The config says how large the weights are: a file of another size is not read.
    values = sum(int(np.prod(shape, dtype=object)) for shape in expected.values())
    entry = manifest.files[WEIGHTS_NAME]
    size = entry.size
    if size < 2 * values:
        raise TensorMismatchError(
            f"model.safetensors has {size} bytes; config.json needs {2 * values} and more"
        )
    most = 4 * values + 8 + MAX_HEADER_BYTES
    if size > most:
        raise TensorMismatchError(
            f"model.safetensors has {size} bytes; with this config.json it has at most {most}"
        )
    # Hashing takes most of the time, and no Python.
    with Background(
        lambda: map_file(folder / WEIGHTS_NAME, FILE_CAPS[WEIGHTS_NAME], entry)
    ) as mapping:
        tokenizer = Tokenizer.from_json(read("tokenizer.json"), vocab_size=config.text.vocab_size)
    try:
        weights_file = mapping.result()
    finally:
        del mapping  # See `result`: a file that is refused is closed at once.
    weights = mapped_weights(weights_file, expected)
    golden, _ = read_safetensors(read("golden.safetensors"), "golden.safetensors")
    try:
        card = read("README.md").decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleFormatError(f"README.md is not UTF-8: {error}") from error
    if any(map(is_control, card)):
        raise BundleFormatError("README.md holds control characters; remove them")
    return Bundle(
        path=folder,
        manifest=manifest,
        config=config,
        preprocess=preprocess,
        tokenizer=tokenizer,
        weights=weights,
        weights_file=weights_file,
        card=card,
        golden=golden,
        precisions=precisions,
    )
