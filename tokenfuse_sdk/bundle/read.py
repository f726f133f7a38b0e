"""Read a bundle, verifying before trusting: names, links, sizes, hashes, shapes, values."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from tokenfuse_sdk.background import Background
from tokenfuse_sdk.bundle.folder import check_folder, folder_of
from tokenfuse_sdk.bundle.manifest import (
    FILE_CAPS,
    MANIFEST_CAP,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    parse_manifest,
)
from tokenfuse_sdk.bundle.precisions import MEASURE_AGAIN, PRECISIONS_NAME, PrecisionRecord
from tokenfuse_sdk.bundle.safetensors_file import MAX_HEADER_BYTES, read_safetensors
from tokenfuse_sdk.bundle.weights_file import WEIGHTS_NAME, mapped_weights
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import (
    BundleFormatError,
    BundleHashError,
    BundleLinkError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
    ConfigError,
    TensorMismatchError,
)
from tokenfuse_sdk.mapped_file import MappedFile, map_plain_file
from tokenfuse_sdk.plain_file import (
    FileChangedError,
    FileTooLargeError,
    NotPlainFileError,
    read_plain_file,
)
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.strict_json import parse_object
from tokenfuse_sdk.tokenizer import Tokenizer, is_control
from tokenfuse_sdk.weights import expected_tensors

__all__ = ["Bundle", "read_bundle"]


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

    def check_unchanged(self) -> None:
        """Raise BundleSizeError where the weights file was written to since it was verified."""
        entry = self.manifest.files[WEIGHTS_NAME]
        with _bundle_errors(self.path / WEIGHTS_NAME, entry.size, entry):
            self.weights_file.check_unchanged()


def _wrong_size(path: pathlib.Path, num_bytes: int, expected: FileEntry) -> BundleSizeError:
    return BundleSizeError(f"{path} has {num_bytes} bytes; {MANIFEST_NAME} says {expected.size}")


@contextlib.contextmanager
def _bundle_errors(path: pathlib.Path, cap: int, expected: FileEntry | None) -> Iterator[None]:
    """What goes wrong with a file becomes an error of a bundle."""
    try:
        yield
    except FileNotFoundError as error:
        raise BundleMissingFileError(f"{path} is not there") from error
    except (NotPlainFileError, IsADirectoryError) as error:
        raise BundleLinkError(f"{path} is not a plain file") from error
    except FileTooLargeError as error:
        if expected is None or error.num_bytes > cap:
            raise BundleSizeError(f"{path} has {error.num_bytes} bytes; at most {cap}") from error
        raise _wrong_size(path, error.num_bytes, expected) from error
    except FileChangedError as error:
        raise BundleSizeError(str(error)) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BundleLinkError(f"{path} is a link; a bundle holds plain files") from error
        raise BundlePathError(f"{path} cannot be read: {error.strerror}") from error


def _check_content(path: pathlib.Path, num_bytes: int, sha256: str, expected: FileEntry) -> None:
    if num_bytes != expected.size:
        raise _wrong_size(path, num_bytes, expected)
    if sha256 != expected.sha256:
        raise BundleHashError(
            f"{path} does not have the sha256 of {MANIFEST_NAME}; it was damaged or changed. "
            "Fetch or export the bundle again"
        )


def _read_file(path: pathlib.Path, cap: int, expected: FileEntry | None) -> bytes:
    """The bytes of a plain file, opened once; size checked before anything is read."""
    most = cap if expected is None else min(cap, expected.size)
    with _bundle_errors(path, cap, expected):
        data = read_plain_file(path, max_bytes=most, follow_links=False)
    if expected is not None:
        _check_content(path, len(data), hashlib.sha256(data).hexdigest(), expected)
    return data


def _map_file(path: pathlib.Path, cap: int, expected: FileEntry) -> MappedFile:
    """The same, without the bytes in memory."""
    with _bundle_errors(path, cap, expected):
        file = map_plain_file(path, max_bytes=min(cap, expected.size), follow_links=False)
    _check_content(path, len(file.data), file.sha256, expected)
    return file


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
        data = _read_file(path, FILE_CAPS[PRECISIONS_NAME], manifest.files[PRECISIONS_NAME])
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
    check_folder(folder)
    manifest = parse_manifest(_read_file(folder / MANIFEST_NAME, MANIFEST_CAP, None))

    def read(name: str) -> bytes:
        return _read_file(folder / name, FILE_CAPS[name], manifest.files[name])

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
        lambda: _map_file(folder / WEIGHTS_NAME, FILE_CAPS[WEIGHTS_NAME], entry)
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
