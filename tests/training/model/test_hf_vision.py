"""The image encoder computes what Hugging Face's ViT and SigLIP compute from the same weights."""

from __future__ import annotations

import pytest
import torch

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_training.model.vision import VisionEncoder

transformers = pytest.importorskip("transformers")

_PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}


def _layer(theirs, i, *, prefix, attention, output, norm1, norm2):
    """Tensors of layer i under our names."""
    old, new = f"{prefix}.{i}", f"layers.{i}"
    names = {"norm1": norm1, "norm2": norm2, "mlp.up": "mlp.fc1", "mlp.down": "mlp.fc2"}
    names |= {f"attention.{our}": f"{attention}.{name}" for our, name in _PROJECTIONS.items()}
    names["attention.output"] = f"{attention}.{output}"
    return {
        f"{new}.{our}.{part}": theirs[f"{old}.{name}.{part}"]
        for our, name in names.items()
        for part in ("weight", "bias")
    }


def _from_vit(theirs, num_layers):
    weights = {
        "class_token": theirs["embeddings.cls_token"][0],
        "position": theirs["embeddings.position_embeddings"][0],
        "patch.weight": theirs["embeddings.patch_embeddings.projection.weight"],
        "patch.bias": theirs["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": theirs["layernorm.weight"],
        "norm.bias": theirs["layernorm.bias"],
    }
    for i in range(num_layers):
        weights |= _layer(
            theirs,
            i,
            prefix="layers",
            attention="attention",
            output="o_proj",
            norm1="layernorm_before",
            norm2="layernorm_after",
        )
    return weights


def _from_siglip(theirs, num_layers):
    weights = {
        "position": theirs["embeddings.position_embedding.weight"],
        "patch.weight": theirs["embeddings.patch_embedding.weight"],
        "patch.bias": theirs["embeddings.patch_embedding.bias"],
        "norm.weight": theirs["post_layernorm.weight"],
        "norm.bias": theirs["post_layernorm.bias"],
    }
    for i in range(num_layers):
        weights |= _layer(
            theirs,
            i,
            prefix="encoder.layers",
            attention="self_attn",
            output="out_proj",
            norm1="layer_norm1",
            norm2="layer_norm2",
        )
    return weights


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


def _ours(num_layers, eps, **changes):
    return VisionEncoder(
        VisionConfig(
            image_size=40,
            patch_size=8,
            width=48,
            num_layers=num_layers,
            num_heads=4,
            mlp_dim=112,
            eps=eps,
            **changes,
        )
    )


def _picture():
    return torch.randn(2, 40, 40, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("num_layers", [0, 1, 3])
@pytest.mark.parametrize("eps", [1e-12, 1e-6])
def test_vit(num_layers, eps, randomise, check_parity):
    config = transformers.ViTConfig(**_sizes(num_layers, eps), hidden_act="gelu")
    theirs = randomise(transformers.ViTModel(config, add_pooling_layer=False))
    ours = _ours(num_layers, eps, class_token=True)
    ours.load_state_dict(_from_vit(theirs.state_dict(), num_layers))
    image = _picture()
    check_parity(
        ours,
        theirs,
        run_ours=lambda model: model(image.to(model.position.dtype)),
        run_theirs=lambda model: model(image.to(model.dtype).permute(0, 3, 1, 2)).last_hidden_state,
    )


@pytest.mark.parametrize("num_layers", [1, 3])
def test_siglip(num_layers, randomise, check_parity):
    config = transformers.SiglipVisionConfig(
        **_sizes(num_layers, 1e-6), hidden_act="gelu_pytorch_tanh", vision_use_head=False
    )
    theirs = randomise(transformers.SiglipVisionModel(config))
    ours = _ours(num_layers, 1e-6, activation="gelu_tanh")
    ours.load_state_dict(_from_siglip(theirs.state_dict(), num_layers))
    image = _picture()
    check_parity(
        ours,
        theirs,
        run_ours=lambda model: model(image.to(model.position.dtype)),
        run_theirs=lambda model: model(image.to(model.dtype).permute(0, 3, 1, 2)).last_hidden_state,
    )


def test_the_two_activations_differ(randomise):
    """Otherwise the tests above could pass with the wrong one."""
    image = _picture()
    exact, tanh = (_ours(1, 1e-6, activation=name) for name in ("gelu", "gelu_tanh"))
    tanh.load_state_dict(randomise(exact).state_dict())
    with torch.no_grad():
        assert (exact(image) - tanh(image)).abs().max() > 1e-5
