"""The front door: load a bundle, encode a picture, answer questions about it."""

from tokenfuse_sdk.model.loading import load
from tokenfuse_sdk.model.model import Model

__all__ = ["Model", "load"]
