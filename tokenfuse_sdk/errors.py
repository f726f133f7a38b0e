"""Every error the SDK raises on a user's mistake or a bad file.

Each message says what was given, what is allowed and what to do. All derive
from `TokenfuseError`, and from the built-in a caller would expect, so that
`except ValueError` works as well as `except TokenfuseError`.
"""

from __future__ import annotations

__all__ = [
    "BundleChangedError",
    "BundleError",
    "BundleExistsError",
    "BundleFormatError",
    "BundleHashError",
    "BundleLinkError",
    "BundleMissingFileError",
    "BundlePathError",
    "BundleSizeError",
    "BundleVersionError",
    "ConfigError",
    "DeviceError",
    "EngineKeyError",
    "ImageError",
    "ImageFormatError",
    "ImageTooLargeError",
    "ModelClosedError",
    "NotFiniteError",
    "OpError",
    "OutputExistsError",
    "OutputPathError",
    "PrecisionError",
    "QuestionError",
    "TensorDataError",
    "TensorHeaderError",
    "TensorMismatchError",
    "TokenBudgetError",
    "TokenfuseError",
    "TokensError",
    "TokensMissingFileError",
    "UnsupportedModelError",
]


class TokenfuseError(Exception):
    """Base of every error raised by tokenfuse."""


class ConfigError(TokenfuseError, ValueError):
    """A config, an option or an environment variable has a wrong, missing or unknown value."""


class OpError(TokenfuseError, ValueError):
    """An op was given arrays whose shape, dtype or layout it does not take."""


class DeviceError(TokenfuseError, RuntimeError):
    """The device that was asked for is not present or not built in."""


class EngineKeyError(DeviceError):
    """A TensorRT engine was built of or for something else than what is here."""


class PrecisionError(TokenfuseError, ValueError):
    """The precision that was asked for is not offered on the device."""


class TokenBudgetError(TokenfuseError, ValueError):
    """The token budget is not one that the model was trained with."""


class UnsupportedModelError(TokenfuseError, ValueError):
    """The config is valid, but this runtime cannot execute such a model."""


class QuestionError(TokenfuseError, ValueError):
    """A question is empty, not text, or too long for the model."""


class ImageError(TokenfuseError, ValueError):
    """An image cannot be used as given."""


class ImageFormatError(ImageError):
    """The data is not an image, or an image of a kind that is refused."""


class ImageTooLargeError(ImageError):
    """The image has more pixels or bytes than are accepted."""


class NotFiniteError(TokenfuseError, ArithmeticError):
    """The model gave NaN or infinity: its weights are too large for float32 on this input."""


class ModelClosedError(TokenfuseError, RuntimeError):
    """The model was closed; load it again."""


class TokensError(TokenfuseError, ValueError):
    """ImageTokens do not belong to this model, or their file is damaged or cannot be read."""


class TokensMissingFileError(TokensError, FileNotFoundError):
    """The file of ImageTokens is not there."""


class OutputExistsError(TokenfuseError, FileExistsError):
    """An output file exists already and `--overwrite` was not given."""


class OutputPathError(TokenfuseError, OSError):
    """An output cannot be written where it was to go; nothing of it is there."""


class BundleError(TokenfuseError, ValueError):
    """Base of everything that can be wrong with a bundle."""


class BundleMissingFileError(BundleError, FileNotFoundError):
    """The bundle, or a file that it must hold, is not there."""


class BundleExistsError(BundleError, FileExistsError):
    """A bundle would be written over an existing path."""


class BundleChangedError(BundleError):
    """Another wrote the bundle while something was made to be added to it."""


class BundleVersionError(BundleError):
    """The bundle's format version is not one that this SDK reads."""


class BundleFormatError(BundleError):
    """A JSON file of the bundle does not parse or has an unexpected layout."""


class BundlePathError(BundleError):
    """A file's name is absolute, has `..` or is not listed; or a path cannot be read or written."""


class BundleLinkError(BundleError):
    """The bundle holds a link or something that is not a plain file."""


class BundleSizeError(BundleError):
    """A file has another size than the manifest says, or is over its cap."""


class BundleHashError(BundleError):
    """A file's sha256 is not the one in the manifest, or what was measured is another file."""


class TensorHeaderError(BundleError):
    """A safetensors header is truncated, over its cap, or inconsistent."""


class TensorMismatchError(BundleError):
    """A tensor is missing, unknown, or has another shape or dtype than the config needs."""


class TensorDataError(BundleError):
    """A tensor holds NaN or infinity."""
