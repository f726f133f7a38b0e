"""The reference model in PyTorch; every other runtime is measured against it."""

from tokenfuse_training.model.joint import JointModel

__all__ = ["JointModel"]
