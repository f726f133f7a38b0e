"""`begin`: what is given is what the model has, the rest is random by the seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokenfuse_sdk.errors import BundleFormatError, ConfigError
from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.start import begin


def _same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_from_scratch(run_config, gates):
    before = torch.random.get_rng_state()
    first, again = (begin(run_config(tokenizer="scenes")) for _ in range(2))
    other = begin(run_config(tokenizer="scenes", seed=1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert _same_weights(first.model, again.model)
    assert not _same_weights(first.model, other.model)
    assert first.source == again.source
    assert gates(first.model) == {1.0}
    nano = named_config("nano")
    assert first.model_config.name == "trial"
    assert first.model_config.vision == nano.vision
    # The words of scenes, not the 128 of the size.
    assert first.model_config.text.vocab_size == 98
    assert first.preprocess == PreprocessConfig(image_size=nano.vision.image_size)
    more = begin(run_config(tokenizer="scenes-pretrain"))
    assert more.model_config.text.vocab_size > 98


def test_settings(run_config):
    model = {"size": "tiny", "vision": {"num_layers": 1}, "text": {"vocab_size": 100}}
    model |= {"fusion": {"num_latents": 6, "num_layers": 4}, "decoder": {"max_tokens": 5}}
    changes = {"fit": "stretch", "image_mean": [0, 0.25, 1]}
    started = begin(run_config(tokenizer="scenes", model=model, preprocess=changes))
    config = started.model_config
    assert (config.vision.num_layers, config.vision.width) == (1, 192)
    assert (config.text.vocab_size, config.decoder.max_tokens) == (100, 5)
    assert config.fusion.token_budgets == (4, 6)
    assert started.model.embedding.weight.shape == (100, 192)
    assert started.preprocess.image_mean == (0.0, 0.25, 1.0)
    assert started.preprocess.fit == "stretch"


@pytest.mark.parametrize(
    "model, preprocess, message",
    [
        ({"vision": {"image_sise": 64}}, {}, "did you mean 'image_size'"),
        ({"fusion": {"qqq": 1}}, {}, "allowed: width"),
        ({"vision": {"image_size": 60}}, {}, "multiple of"),
        ({"size": "huge"}, {}, "nano, tiny"),
        ({"text": {"vocab_size": 50}}, {}, "room for 50"),
        ({}, {"image_means": [0.5]}, "did you mean 'image_mean'"),
        ({}, {"image_mean": "x"}, "three finite floats"),
        ({}, {"image_mean": [10**400, 0, 0]}, "three finite floats"),
        ({}, {"image_size": 32}, "model.vision.image_size"),
    ],
)
def test_settings_that_are_refused(run_config, model, preprocess, message):
    with pytest.raises((ConfigError, BundleFormatError), match=message):
        begin(run_config(tokenizer="scenes", model=model, preprocess=preprocess))


def test_no_tokenizer(run_config):
    with pytest.raises(ConfigError, match=r"spiece\.model"):
        begin(run_config())


def test_a_bundle(run_config, bundle, bundle_parts):
    started = begin(run_config(bundle=bundle, preprocess={"fit": "stretch"}))
    for name, value in started.model.state_dict().items():
        assert np.array_equal(value.numpy(), bundle_parts["weights"][name].astype(np.float32))
    assert started.tokenizer_json == bundle_parts["tokenizer_json"].encode()
    assert started.model_config.to_dict() == bundle_parts["config"].to_dict() | {"name": "trial"}
    assert started.preprocess.fit == "stretch"
    # Larger pictures: positions are resized, all else is as it was.
    larger = begin(run_config(bundle=bundle, model={"vision": {"image_size": 48}}))
    assert larger.model.vision.position.shape[0] == 36
    assert larger.preprocess.image_size == 48
    assert larger.source != started.source
    with pytest.raises(ConfigError, match=r"model\.fusion\.num_latents=4"):
        begin(run_config(bundle=bundle, model={"fusion": {"num_latents": 4}}))
