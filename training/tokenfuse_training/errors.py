"""Errors of training, beside those of the SDK: what was given, what is allowed, what to do."""

from __future__ import annotations

from tokenfuse_sdk.errors import TokenfuseError

__all__ = [
    "BadRecordError",
    "CheckpointError",
    "DataError",
    "EvaluationError",
    "InitError",
    "TooManyBadRecordsError",
]


class DataError(TokenfuseError, ValueError):
    """A data set cannot be read at all: a missing file, broken JSON, fields that are not there."""


class BadRecordError(DataError):
    """One record cannot be used: it is counted and left out, up to a share of all."""


class TooManyBadRecordsError(DataError):
    """More records than the stated share cannot be used."""


class EvaluationError(TokenfuseError, RuntimeError):
    """A run is trained and its bundle written, but not all of its evaluation could be done."""


class CheckpointError(TokenfuseError, ValueError):
    """A training checkpoint is damaged, of another run, or cannot be written."""


class InitError(TokenfuseError, ValueError):
    """Weights to begin with are missing, damaged, or of a kind that the model is not."""
