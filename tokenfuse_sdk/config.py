"""Frozen configs: the one source of a model's shape.

The engine, the PyTorch reference, the exporters and the FLOP counter all read
these; a bundle's `config.json` is `ModelConfig.to_dict()`.

Symbols: B batch, S image tokens, L text tokens, N latents, C image-encoder
width, T text width, D fusion width, M iterations, R fusion layers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from tokenfuse_sdk.errors import ConfigError, TokenBudgetError
from tokenfuse_sdk.integers import as_integer, checked_int

__all__ = [
    "COMBINATIONS",
    "FUSION_KINDS",
    "RESAMPLERS",
    "DecoderConfig",
    "FusionConfig",
    "ModelConfig",
    "TextConfig",
    "VisionConfig",
]

FUSION_KINDS = ("joint_adaptive", "concat", "cross_attention", "perceiver", "co_tokenization")
RESAMPLERS = ("latent", "spatial")
COMBINATIONS = ("weighted", "residual", "none")
ACTIVATIONS = ("gelu", "gelu_tanh")

# Upper bounds that keep a hostile config from asking for absurd memory. The
# paper's model (D 768, 12 layers, 196 tokens) is more than 10x below each.
_MAX_WIDTH = 8192
_MAX_LAYERS = 128
_MAX_TOKENS = 16384
_MAX_VOCAB = 1 << 20


def _set_int(config: object, owner: str, name: str, low: int, high: int) -> None:
    """Check a field; what is kept is an int, for JSON and the engine know no other kind."""
    number = checked_int(f"{owner}.{name}", getattr(config, name), low, high)
    object.__setattr__(config, name, number)


def _set_ints(config: object, owner: str, name: str, low: int, high: int) -> None:
    values = getattr(config, name)
    numbers = tuple(checked_int(f"{owner}.{name}", value, low, high) for value in values)
    object.__setattr__(config, name, numbers)


def _check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{owner}.{name}={value!r}: choose one of {', '.join(choices)}")


def _check_eps(owner: str, name: str, value: object) -> None:
    ok = isinstance(value, float) and math.isfinite(value) and 0.0 < value < 1.0
    if not ok:
        raise ConfigError(f"{owner}.{name}={value!r}: need a float between 0 and 1")


def _check_heads(owner: str, width: int, num_heads: int) -> None:
    if width % num_heads:
        raise ConfigError(
            f"{owner}.num_heads={num_heads} does not divide the width {width}; pick a divisor"
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """Image encoder: a ViT, optionally behind a convolutional stem.

    With `stem_widths` empty, patches are one convolution of `patch_size` (the
    ViT of Hugging Face). Otherwise each stem entry is a 3x3 convolution of
    stride 2 (padding 1) followed by GELU, and the patch convolution covers the
    remaining `patch_size / 2**len(stem_widths)`. DeiT has a `distillation_token`
    behind its `class_token`; patches follow.
    """

    image_size: int
    patch_size: int
    width: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    stem_widths: tuple[int, ...] = ()
    class_token: bool = False
    distillation_token: bool = False
    activation: str = "gelu"
    eps: float = 1e-6

    def __post_init__(self) -> None:
        own = "vision"
        _set_int(self, own, "image_size", 1, 4096)
        _set_int(self, own, "patch_size", 1, 256)
        _set_int(self, own, "width", 1, _MAX_WIDTH)
        _set_int(self, own, "num_layers", 0, _MAX_LAYERS)
        _set_int(self, own, "num_heads", 1, 256)
        _set_int(self, own, "mlp_dim", 1, 8 * _MAX_WIDTH)
        _check_choice(own, "activation", self.activation, ACTIVATIONS)
        _check_eps(own, "eps", self.eps)
        _check_heads(own, self.width, self.num_heads)
        for name in ("class_token", "distillation_token"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ConfigError(f"vision.{name}={value!r}: need true or false")
        if self.distillation_token and not self.class_token:
            raise ConfigError(
                "vision.distillation_token=True needs class_token=True: it stands behind that"
            )
        if len(self.stem_widths) > 4:
            raise ConfigError(f"vision.stem_widths has {len(self.stem_widths)} entries; at most 4")
        _set_ints(self, own, "stem_widths", 1, 1024)
        if self.patch_size % (1 << len(self.stem_widths)):
            raise ConfigError(
                f"vision.patch_size={self.patch_size} is not a multiple of the stem's stride "
                f"{1 << len(self.stem_widths)}"
            )
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"vision.image_size={self.image_size} is not a multiple of "
                f"patch_size={self.patch_size}"
            )
        checked_int("vision.num_tokens", self.num_tokens, 1, _MAX_TOKENS)

    @property
    def grid_size(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def num_class_tokens(self) -> int:
        """Tokens before the patches: class and distillation token."""
        return int(self.class_token) + int(self.distillation_token)

    @property
    def num_tokens(self) -> int:
        """S: patches, and the class tokens where there are any."""
        return self.grid_size**2 + self.num_class_tokens

    @property
    def patch_kernel(self) -> int:
        """Kernel and stride of the patch convolution, after the stem."""
        return self.patch_size >> len(self.stem_widths)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """Text encoder: T5 v1.1 (RMS norm, relative position bias, gated GELU)."""

    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    head_dim: int
    mlp_dim: int
    max_tokens: int = 64
    num_buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6

    def __post_init__(self) -> None:
        own = "text"
        _set_int(self, own, "vocab_size", 4, _MAX_VOCAB)
        _set_int(self, own, "width", 1, _MAX_WIDTH)
        _set_int(self, own, "num_layers", 1, _MAX_LAYERS)
        _set_int(self, own, "num_heads", 1, 256)
        _set_int(self, own, "head_dim", 1, 1024)
        _set_int(self, own, "mlp_dim", 1, 8 * _MAX_WIDTH)
        _set_int(self, own, "max_tokens", 1, _MAX_TOKENS)
        _set_int(self, own, "num_buckets", 4, 1024)
        _set_int(self, own, "max_distance", 2, 1 << 20)
        _check_eps(own, "eps", self.eps)
        if self.num_buckets % 4 or self.max_distance <= self.num_buckets // 2:
            raise ConfigError(
                f"text.num_buckets={self.num_buckets} must be a multiple of 4 and below "
                f"2 * max_distance={2 * self.max_distance}"
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig:
    """How image and text tokens become the tokens that the decoder reads.

    `token_budgets` are the latent prefixes the model is trained for; the last
    is `num_latents`, the full budget.
    """

    width: int
    num_heads: int
    mlp_dim: int
    num_latents: int
    num_iterations: int
    num_layers: int
    token_budgets: tuple[int, ...]
    kind: str = "joint_adaptive"
    resampler: str = "latent"
    combination: str = "weighted"
    resampler_hidden: int = 64
    activation: str = "gelu"
    eps: float = 1e-6

    def __post_init__(self) -> None:
        own = "fusion"
        _check_choice(own, "kind", self.kind, FUSION_KINDS)
        _check_choice(own, "resampler", self.resampler, RESAMPLERS)
        _check_choice(own, "combination", self.combination, COMBINATIONS)
        _check_choice(own, "activation", self.activation, ACTIVATIONS)
        _set_int(self, own, "width", 1, _MAX_WIDTH)
        _set_int(self, own, "num_heads", 1, 256)
        _set_int(self, own, "mlp_dim", 1, 8 * _MAX_WIDTH)
        _set_int(self, own, "num_latents", 1, 4096)
        _set_int(self, own, "num_iterations", 1, _MAX_LAYERS)
        _set_int(self, own, "num_layers", 0, _MAX_LAYERS)
        _set_int(self, own, "resampler_hidden", 1, _MAX_WIDTH)
        _check_eps(own, "eps", self.eps)
        _check_heads(own, self.width, self.num_heads)
        if self.num_layers % self.num_iterations:
            raise ConfigError(
                f"fusion.num_layers={self.num_layers} is not a multiple of "
                f"num_iterations={self.num_iterations}"
            )
        _set_ints(self, own, "token_budgets", 1, self.num_latents)
        budgets = self.token_budgets
        if not budgets or list(budgets) != sorted(set(budgets)) or budgets[-1] != self.num_latents:
            raise ConfigError(
                f"fusion.token_budgets={list(budgets)}: need increasing values that end with "
                f"num_latents={self.num_latents}"
            )

    def check_budget(self, token_budget: int | None, default: int | None = None) -> int:
        """One of the budgets, as an int; for None it is `default`, or else the full budget.

        Raises:
            TokenBudgetError: not one of the budgets.
        """
        if token_budget is None:
            return self.num_latents if default is None else default
        budget = as_integer(token_budget)
        if budget is None or budget not in self.token_budgets:
            raise TokenBudgetError(
                f"token_budget={token_budget!r} is not one of {list(self.token_budgets)}; pick "
                "one of these"
            )
        return budget


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Answer decoder: T5 v1.1, of the text encoder's width and vocabulary."""

    num_layers: int
    num_heads: int
    head_dim: int
    mlp_dim: int
    max_tokens: int = 32
    eps: float = 1e-6

    def __post_init__(self) -> None:
        own = "decoder"
        _set_int(self, own, "num_layers", 1, _MAX_LAYERS)
        _set_int(self, own, "num_heads", 1, 256)
        _set_int(self, own, "head_dim", 1, 1024)
        _set_int(self, own, "mlp_dim", 1, 8 * _MAX_WIDTH)
        _set_int(self, own, "max_tokens", 1, 1024)
        _check_eps(own, "eps", self.eps)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A whole model. Pad, end and start ids are fixed: 0, 1 and 0, as in T5."""

    name: str
    vision: VisionConfig
    text: TextConfig
    fusion: FusionConfig
    decoder: DecoderConfig

    def __post_init__(self) -> None:
        ok = isinstance(self.name, str) and 0 < len(self.name) <= 64 and self.name.isprintable()
        if not ok:
            raise ConfigError(f"name={self.name!r}: need a name of 1 to 64 printable characters")

    @property
    def pad_id(self) -> int:
        return 0

    @property
    def eos_id(self) -> int:
        return 1

    @property
    def start_id(self) -> int:
        return 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as in a bundle's `config.json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Read `to_dict()` back; unknown and missing keys are errors."""
        config = _build(cls, data, "config")
        assert isinstance(config, cls)
        return config


def _build(cls: Any, data: object, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} is a {type(data).__name__}; need a JSON object")
    hints = get_type_hints(cls)
    unknown = sorted(str(key) for key in data if key not in hints)
    if unknown:
        raise ConfigError(
            f"{where} has unknown keys {', '.join(unknown)}; allowed: {', '.join(sorted(hints))}"
        )
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.name not in data:
            if field.default is dataclasses.MISSING:
                raise ConfigError(f"{where}.{field.name} is missing")
            continue
        value, hint = data[field.name], hints[field.name]
        if dataclasses.is_dataclass(hint):
            value = _build(hint, value, f"{where}.{field.name}")
        elif get_args(hint):
            if not isinstance(value, list | tuple):
                raise ConfigError(f"{where}.{field.name}={value!r}: need a list of integers")
            value = tuple(value)
        values[field.name] = value
    return cls(**values)
