"""The image encoder computes what Hugging Face's ViT, DeiT and SigLIP compute, from their files."""

from __future__ import annotations

import pytest
import torch
import transformers

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_training.init.hf_vision import open_vision
from tokenfuse_training.model.vision import VisionEncoder

_VIT = {"hidden_act": "gelu"}
_SIGLIP = {"hidden_act": "gelu_pytorch_tanh", "vision_use_head": False}
_ROOT = {"vit": "vit", "deit": "deit", "siglip": "vision_model"}


def _sizes(num_layers, eps):
    return {
        "hidden_size": 48,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "intermediate_size": 112,
        "image_size": 40,
        "patch_size": 8,
        "layer_norm_eps": eps,
    }


def _vit(num_layers, eps=1e-12):
    config = transformers.ViTConfig(**_sizes(num_layers, eps), **_VIT)
    return transformers.ViTModel(config, add_pooling_layer=False)


def _deit(num_layers, eps=1e-12):
    config = transformers.DeiTConfig(**_sizes(num_layers, eps), **_VIT)
    return transformers.DeiTModel(config, add_pooling_layer=False)


def _siglip(num_layers, eps=1e-6):
    config = transformers.SiglipVisionConfig(**_sizes(num_layers, eps), **_SIGLIP)
    return transformers.SiglipVisionModel(config)


def _imported(folder, image_size=None):
    """Our encoder with the weights of a folder, for pictures of that size."""
    source = open_vision(str(folder))
    config = source.config(image_size)
    ours = VisionEncoder(config)
    weights = source.weights(config.image_size)
    ours.load_state_dict({name.removeprefix("vision."): value for name, value in weights.items()})
    return ours


def _picture(image_size):
    shape = (2, image_size, image_size, 3)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def _theirs(model, image, **options):
    dtype = next(model.parameters()).dtype
    return model(image.to(dtype).permute(0, 3, 1, 2), **options).last_hidden_state


def _check(folder, theirs, check_parity, image_size=40):
    image = _picture(image_size)
    check_parity(
        _imported(folder, image_size),
        theirs,
        run_ours=lambda model: model(image.to(model.position.dtype)),
        run_theirs=lambda model: _theirs(model, image),
    )


@pytest.mark.parametrize("num_layers", [0, 1, 3])
@pytest.mark.parametrize("make", [_vit, _deit, _siglip])
def test_same_size(make, num_layers, randomise, check_parity, tmp_path):
    theirs = randomise(make(num_layers))
    theirs.save_pretrained(tmp_path)
    _check(tmp_path, theirs, check_parity)


def test_another_epsilon(randomise, check_parity, tmp_path):
    theirs = randomise(_vit(1, eps=1e-3))
    theirs.save_pretrained(tmp_path)
    _check(tmp_path, theirs, check_parity)


@pytest.mark.parametrize("image_size", [16, 56, 72])
@pytest.mark.parametrize("make", [_vit, _deit, _siglip])
def test_resized_positions(make, image_size, randomise, tmp_path):
    """In float32 alone: ours are resized when they are read, theirs at every call."""
    theirs = randomise(make(1)).eval()
    theirs.save_pretrained(tmp_path)
    image = _picture(image_size)
    with torch.no_grad():
        y = _imported(tmp_path, image_size)(image)
        want = _theirs(theirs, image, interpolate_pos_encoding=True)
    assert want.abs().max() > 1
    torch.testing.assert_close(y, want, rtol=0, atol=1e-5)


def test_names_of_the_modules(randomise, check_parity, tmp_path):
    """transformers 5 can write its own names in place of those of published files."""
    for make in (_vit, _deit):
        theirs = randomise(make(2))
        folder = tmp_path / make.__name__
        theirs.save_pretrained(folder, save_original_format=False)
        _check(folder, theirs, check_parity)


@pytest.mark.parametrize("family", ["vit", "deit", "siglip"])
def test_folders_of_models_with_heads(family, randomise, check_parity, tmp_path):
    sizes = _sizes(1, 1e-6)
    if family == "vit":
        whole = transformers.ViTForImageClassification(transformers.ViTConfig(**sizes))
    elif family == "deit":
        whole = transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**sizes))
    else:
        text = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
        text |= {"intermediate_size": 64, "vocab_size": 64, "bos_token_id": 2, "eos_token_id": 3}
        whole = transformers.SiglipModel(
            transformers.SiglipConfig(vision_config=sizes, text_config=text)
        )
    randomise(whole).save_pretrained(tmp_path)
    _check(tmp_path, getattr(whole, _ROOT[family]), check_parity)


def test_a_deit_without_its_distillation_token(randomise, check_parity, tmp_path):
    """Such a folder holds the tensors of a ViT."""
    theirs = randomise(_vit(1))
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"model_type": "vit"', '"model_type": "deit"'))
    _check(tmp_path, theirs, check_parity)


def test_the_last_pixels_that_no_patch_covers(randomise, check_parity, tmp_path):
    """SigLIP so400m has patches of 14 in pictures of 384: 27 of them, and 6 pixels more."""
    theirs = randomise(_siglip(1))
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"image_size": 40', '"image_size": 45'))
    _check(tmp_path, theirs, check_parity)


def test_defaults_are_those_of_transformers(tmp_path):
    """Published SigLIP folders leave nearly all fields out."""
    from tokenfuse_training.init import hf_vision

    for ours, config in (
        (hf_vision._VIT, transformers.ViTConfig()),
        (hf_vision._VIT, transformers.DeiTConfig()),
        (hf_vision._SIGLIP, transformers.SiglipVisionConfig()),
    ):
        theirs = config.to_dict() | {"qkv_bias": True}
        assert ours == {name: theirs[name] for name in ours}


def test_the_two_activations_differ(randomise):
    """Otherwise the tests above could pass with the wrong one."""
    image = torch.randn(2, 40, 40, 3, generator=torch.Generator().manual_seed(1))
    sizes = {"image_size": 40, "patch_size": 8, "width": 48, "num_layers": 1, "num_heads": 4}
    exact, tanh = (
        VisionEncoder(VisionConfig(**sizes, mlp_dim=112, activation=name))
        for name in ("gelu", "gelu_tanh")
    )
    tanh.load_state_dict(randomise(exact).state_dict())
    with torch.no_grad():
        assert (exact(image) - tanh(image)).abs().max() > 1e-5
