"""Image encoders of Hugging Face: ViT, DeiT and SigLIP, as weights of ours.

Shapes: S image tokens, C width, G side of the grid of patches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor, cat

from tokenfuse_sdk.config import VisionConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.init.hf_config import HfConfig
from tokenfuse_training.init.hf_folder import HfFolder
from tokenfuse_training.init.positions import resize_positions

__all__ = ["HfVision", "open_vision"]

_DEFAULTS = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 16,
    "qkv_bias": True,
}
_VIT = _DEFAULTS | {"hidden_act": "gelu", "layer_norm_eps": 1e-12}
_SIGLIP = _DEFAULTS | {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
_ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """Where a family keeps our tensors: all of them but class tokens and positions.

    `prefix` stands before every name in folders of models with heads; `layer` is the name of a
    layer, `parts` those of its linears and norms, `ends` those outside of layers.
    """

    prefix: str
    layer: str
    parts: Mapping[str, str]
    ends: Mapping[str, str]
    class_tokens: tuple[str, ...]
    position: str
    heads: tuple[str, ...]


_PROJECTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
_VIT_LAYER = {"norm1": "layernorm_before", "norm2": "layernorm_after"}
# What published files have; and what the modules of transformers 5 are called.
_VIT_LAYERS: dict[str, Mapping[str, str]] = {
    "encoder.layer.{}.": _VIT_LAYER
    | {f"attention.{name}": f"attention.attention.{name}" for name in _PROJECTIONS}
    | {
        "attention.output": "attention.output.dense",
        "mlp.up": "intermediate.dense",
        "mlp.down": "output.dense",
    },
    "layers.{}.": _VIT_LAYER
    | {f"attention.{ours}": f"attention.{theirs}" for ours, theirs in _PROJECTIONS.items()}
    | {"attention.output": "attention.o_proj", "mlp.up": "mlp.fc1", "mlp.down": "mlp.fc2"},
}


def _vit_names(family: str, names: frozenset[str]) -> _Names:
    prefix = f"{family}." if any(name.startswith(f"{family}.") for name in names) else ""
    new = any(name.startswith(f"{prefix}layers.0.") for name in names)
    layer = "layers.{}." if new else "encoder.layer.{}."
    tokens = ("embeddings.cls_token", "embeddings.distillation_token")
    return _Names(
        prefix=prefix,
        layer=layer,
        parts=_VIT_LAYERS[layer],
        ends={"patch": "embeddings.patch_embeddings.projection", "norm": "layernorm"},
        class_tokens=tuple(name for name in tokens if name == tokens[0] or prefix + name in names),
        position="embeddings.position_embeddings",
        heads=(
            f"{prefix}pooler.",
            f"{prefix}embeddings.mask_token",
            "classifier.",
            "cls_classifier.",
            "distillation_classifier.",
            "decoder.",
        ),
    )


def _siglip_names(names: frozenset[str]) -> _Names:
    prefix = "vision_model."
    if not any(name.startswith(prefix) for name in names):
        prefix = ""
    parts = {"norm1": "layer_norm1", "norm2": "layer_norm2", "mlp.up": "mlp.fc1"}
    parts |= {
        f"attention.{name}": f"self_attn.{name[0]}_proj" for name in ("query", "key", "value")
    }
    return _Names(
        prefix=prefix,
        layer="encoder.layers.{}.",
        parts=parts | {"attention.output": "self_attn.out_proj", "mlp.down": "mlp.fc2"},
        ends={"patch": "embeddings.patch_embedding", "norm": "post_layernorm"},
        class_tokens=(),
        position="embeddings.position_embedding.weight",
        heads=(
            f"{prefix}head.",
            f"{prefix}embeddings.position_ids",
            "text_model.",
            "logit_scale",
            "logit_bias",
            "classifier.",
        ),
    )


class HfVision:
    """The image encoder of a folder; made by `open_vision`."""

    def __init__(self, folder: HfFolder, family: str, config: HfConfig, names: _Names) -> None:
        self.folder, self.family = folder, family
        self._names = names
        config.must_be("num_channels", 3, because="pictures are RGB")
        config.must_be("qkv_bias", True, because="the model's attention has these biases")
        config.must_be("hidden_act", *_ACTIVATIONS, because="the model has no other")
        self._image_size = config.side("image_size")
        self._shape: dict[str, Any] = {
            "patch_size": config.side("patch_size"),
            "width": config.integer("hidden_size"),
            "num_layers": config.integer("num_hidden_layers"),
            "num_heads": config.integer("num_attention_heads"),
            "mlp_dim": config.integer("intermediate_size"),
            "class_token": bool(names.class_tokens),
            "distillation_token": len(names.class_tokens) > 1,
            "activation": _ACTIVATIONS[config["hidden_act"]],
            "eps": config.small("layer_norm_eps"),
        }

    def config(self, image_size: Any = None) -> VisionConfig:
        """The shape, at the checkpoint's picture size or another.

        Raises:
            InitError: not a shape that the model can have.
        """
        size = self._image_size if image_size is None else image_size
        patch = self._shape["patch_size"]
        if isinstance(size, int) and size % patch and size > patch:
            near = size // patch * patch
            raise self.folder.error(
                f"with pictures of {size}: not a multiple of its patches of {patch}; set "
                f"model.vision.image_size={near}, or another multiple: positions are resized"
            )
        try:
            return VisionConfig(image_size=size, **self._shape)
        except ConfigError as error:
            raise self.folder.error(f"has a shape that the model cannot have: {error}") from error

    def weights(self, image_size: int) -> dict[str, Tensor]:
        """Every `vision.` tensor of the model, for pictures of that size.

        Raises:
            InitError: a tensor is missing, unknown, of a wrong shape or not finite.
        """
        config, names, prefix = self.config(image_size), self._names, self._names.prefix
        width = config.width
        convolution = (width, 3, config.patch_size, config.patch_size)
        wanted: dict[str, tuple[str, tuple[int, ...]]] = {}
        wanted |= {"patch.weight": (f"{names.ends['patch']}.weight", convolution)}
        for ours, (theirs, shape) in _linears(names, config).items():
            wanted[ours] = (theirs, shape)
        weights = {
            f"vision.{ours}": self.folder.tensor(prefix + theirs, shape)
            for ours, (theirs, shape) in wanted.items()
        }
        if names.class_tokens:
            tokens = [self.folder.tensor(prefix + n, (1, 1, width)) for n in names.class_tokens]
            weights["vision.class_token"] = cat(tokens)[:, 0]
        weights["vision.position"] = self._positions(config)
        known = {theirs for theirs, _ in wanted.values()} | {names.position, *names.class_tokens}
        self._refuse_unknown({prefix + name for name in known})
        return weights

    def _positions(self, config: VisionConfig) -> Tensor:
        # Theirs may be of a size that patches do not divide: the rest of the picture is not seen.
        first = len(self._names.class_tokens)
        rows = first + (self._image_size // config.patch_size) ** 2
        shape = (rows, config.width)
        siglip = self._names.position.endswith(".weight")
        theirs = self._names.prefix + self._names.position
        position_SC = self.folder.tensor(theirs, shape if siglip else (1, *shape)).view(shape)
        return resize_positions(position_SC, num_first=first, grid_size=config.grid_size)

    def _refuse_unknown(self, known: set[str]) -> None:
        unknown = sorted(
            name for name in self.folder.names - known if not name.startswith(self._names.heads)
        )
        if unknown:
            raise self.folder.error(
                f"has {unknown[0]!r} and {len(unknown) - 1} more tensors that a {self.family} of "
                "its config.json does not have; check that config.json is of these weights"
            )


def _linears(names: _Names, config: VisionConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Our name to theirs and its shape, of linears, norms and their biases."""
    width, hidden = config.width, config.mlp_dim
    shapes: dict[str, tuple[int, ...]] = {"mlp.up": (hidden, width), "mlp.down": (width, hidden)}
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for i in range(config.num_layers):
        for ours, theirs in names.parts.items():
            plain = (width,) if ours.startswith("norm") else (width, width)
            shape = shapes.get(ours, plain)
            new, old = f"layers.{i}.{ours}", f"{names.layer.format(i)}{theirs}"
            found[f"{new}.weight"] = (f"{old}.weight", shape)
            found[f"{new}.bias"] = (f"{old}.bias", shape[:1])
    for part in ("weight", "bias"):
        found[f"norm.{part}"] = (f"{names.ends['norm']}.{part}", (width,))
    found["patch.bias"] = (f"{names.ends['patch']}.bias", (width,))
    return found


def open_vision(path: str) -> HfVision:
    """The image encoder of a Hugging Face folder.

    Raises:
        InitError: no such folder, damaged, or not a model of one of these kinds.
    """
    folder = HfFolder(path, "init.vision")
    family = folder.config.get("model_type")
    if family in ("vit", "deit"):
        config = HfConfig(folder, folder.config, _VIT)
        return HfVision(folder, family, config, _vit_names(family, folder.names))
    if family == "siglip_vision_model":
        config = HfConfig(folder, folder.config, _SIGLIP)
        return HfVision(folder, family, config, _siglip_names(folder.names))
    if family == "siglip":
        section = folder.config.get("vision_config") or {}
        if not isinstance(section, dict):
            raise folder.error(f"has vision_config={section!r} in config.json: need an object")
        config = HfConfig(folder, section, _SIGLIP, "vision_config.")
        return HfVision(folder, family, config, _siglip_names(folder.names))
    raise folder.error(
        f"has model_type={family!r} in config.json; an image encoder is vit, deit, siglip or "
        "siglip_vision_model"
    )
