"""The SDK's table of tensors and the PyTorch reference agree, for every kind of model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tokenfuse_sdk.config import COMBINATIONS, FUSION_KINDS, RESAMPLERS
from tokenfuse_sdk.sizes import SIZES, named_config
from tokenfuse_sdk.weights import expected_tensors
from tokenfuse_training.model import JointModel


def _shapes(config):
    with torch.device("meta"):
        model = JointModel(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", FUSION_KINDS)
def test_every_kind_and_size(size, kind):
    config = named_config(size)
    config = dataclasses.replace(config, fusion=dataclasses.replace(config.fusion, kind=kind))
    assert _shapes(config) == expected_tensors(config)


@pytest.mark.parametrize("combination", COMBINATIONS)
@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize("first", [(False, False), (True, False), (True, True)])
def test_every_variant_of_the_method(combination, resampler, first):
    config = named_config("nano")
    config = dataclasses.replace(
        config,
        fusion=dataclasses.replace(config.fusion, combination=combination, resampler=resampler),
        vision=dataclasses.replace(
            config.vision, class_token=first[0], distillation_token=first[1]
        ),
    )
    assert _shapes(config) == expected_tensors(config)
