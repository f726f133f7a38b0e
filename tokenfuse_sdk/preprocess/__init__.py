"""A picture of any kind to the array that the model sees: the only implementation.

Training and export use it too, so that a picture never looks different in use.
"""

from tokenfuse_sdk.preprocess.decode import decode_image
from tokenfuse_sdk.preprocess.normalize import PreprocessConfig, fit_image, preprocess

__all__ = ["PreprocessConfig", "decode_image", "fit_image", "preprocess"]
