"""The reference model in PyTorch; every other runtime is measured against it."""

from tokenfuse_training.model.joint import JointModel, model_from_weights

__all__ = ["JointModel", "model_from_weights"]
