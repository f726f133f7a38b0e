"""The names and shapes of a model's tensors, from its config alone.

A bundle is checked against this before anything is loaded, and the PyTorch
reference's `state_dict()` has exactly these entries. A linear weight is (out,
in), a convolution (out, in, k, k).
"""

from __future__ import annotations

import itertools

from tokenfuse_sdk.config import FusionConfig, ModelConfig, TextConfig, VisionConfig

__all__ = ["expected_tensors"]

Shapes = dict[str, tuple[int, ...]]


def _linear(prefix: str, num_in: int, num_out: int, *, bias: bool = True) -> Shapes:
    shapes: Shapes = {f"{prefix}.weight": (num_out, num_in)}
    if bias:
        shapes[f"{prefix}.bias"] = (num_out,)
    return shapes


def _layer_norm(prefix: str, width: int) -> Shapes:
    return {f"{prefix}.weight": (width,), f"{prefix}.bias": (width,)}


def _conv(prefix: str, num_in: int, num_out: int, kernel: int) -> Shapes:
    return {
        f"{prefix}.weight": (num_out, num_in, kernel, kernel),
        f"{prefix}.bias": (num_out,),
    }


def _attention(prefix: str, width: int) -> Shapes:
    shapes: Shapes = {}
    for part in ("query", "key", "value", "output"):
        shapes |= _linear(f"{prefix}.{part}", width, width)
    return shapes


def _mlp(prefix: str, width: int, hidden: int) -> Shapes:
    return _linear(f"{prefix}.up", width, hidden) | _linear(f"{prefix}.down", hidden, width)


def _self_layer(prefix: str, width: int, mlp_dim: int) -> Shapes:
    return (
        _layer_norm(f"{prefix}.norm1", width)
        | _attention(f"{prefix}.attention", width)
        | _layer_norm(f"{prefix}.norm2", width)
        | _mlp(f"{prefix}.mlp", width, mlp_dim)
    )


def _vision(config: VisionConfig) -> Shapes:
    shapes: Shapes = {}
    widths = (3, *config.stem_widths)
    for i, (num_in, num_out) in enumerate(itertools.pairwise(widths)):
        shapes |= _conv(f"vision.stem.{i}", num_in, num_out, 3)
    shapes |= _conv("vision.patch", widths[-1], config.width, config.patch_kernel)
    if config.class_token:
        shapes["vision.class_token"] = (config.num_class_tokens, config.width)
    shapes["vision.position"] = (config.num_tokens, config.width)
    for i in range(config.num_layers):
        shapes |= _self_layer(f"vision.layers.{i}", config.width, config.mlp_dim)
    return shapes | _layer_norm("vision.norm", config.width)


def _t5_attention(prefix: str, width: int, inner: int) -> Shapes:
    shapes: Shapes = {}
    for part in ("query", "key", "value"):
        shapes |= _linear(f"{prefix}.{part}", width, inner, bias=False)
    return shapes | _linear(f"{prefix}.output", inner, width, bias=False)


def _gated_mlp(prefix: str, width: int, hidden: int) -> Shapes:
    return (
        _linear(f"{prefix}.gate", width, hidden, bias=False)
        | _linear(f"{prefix}.up", width, hidden, bias=False)
        | _linear(f"{prefix}.down", hidden, width, bias=False)
    )


def _text(config: TextConfig) -> Shapes:
    shapes: Shapes = {
        "embedding.weight": (config.vocab_size, config.width),
        "text.relative_bias.weight": (config.num_buckets, config.num_heads),
        "text.norm.weight": (config.width,),
    }
    inner = config.num_heads * config.head_dim
    for i in range(config.num_layers):
        layer = f"text.layers.{i}"
        shapes |= {f"{layer}.norm{n}.weight": (config.width,) for n in (1, 2)}
        shapes |= _t5_attention(f"{layer}.attention", config.width, inner)
        shapes |= _gated_mlp(f"{layer}.mlp", config.width, config.mlp_dim)
    return shapes


def _decoder(config: ModelConfig) -> Shapes:
    text, decoder = config.text, config.decoder
    shapes: Shapes = {
        "decoder.relative_bias.weight": (text.num_buckets, decoder.num_heads),
        "decoder.norm.weight": (text.width,),
    }
    inner = decoder.num_heads * decoder.head_dim
    for i in range(decoder.num_layers):
        layer = f"decoder.layers.{i}"
        shapes |= {f"{layer}.norm{n}.weight": (text.width,) for n in (1, 2, 3)}
        shapes |= _t5_attention(f"{layer}.self_attention", text.width, inner)
        shapes |= _t5_attention(f"{layer}.cross_attention", text.width, inner)
        shapes |= _gated_mlp(f"{layer}.mlp", text.width, decoder.mlp_dim)
    return shapes | _linear("decoder.lm_head", text.width, text.vocab_size, bias=False)


def _resampler(prefix: str, config: FusionConfig) -> Shapes:
    if config.resampler == "latent":
        shapes: Shapes = {f"{prefix}.latents": (config.num_latents, config.width)}
        return shapes | _attention(f"{prefix}.attention", config.width)
    return (
        _layer_norm(f"{prefix}.norm", config.width)
        | _linear(f"{prefix}.up", config.width, config.resampler_hidden)
        | _linear(f"{prefix}.down", config.resampler_hidden, config.num_latents)
    )


def _layers(prefix: str, config: FusionConfig, num_layers: int) -> Shapes:
    shapes: Shapes = {}
    for i in range(num_layers):
        shapes |= _self_layer(f"{prefix}.{i}", config.width, config.mlp_dim)
    return shapes


def _joint_adaptive(config: FusionConfig) -> Shapes:
    shapes = _resampler("fusion.image_resampler", config)
    shapes |= _resampler("fusion.text_resampler", config)
    scalars = ["alpha", "beta"]
    if config.combination == "weighted":
        scalars += ["lambda_", "mu"]
    for i in range(config.num_iterations):
        prefix = f"fusion.iterations.{i}"
        shapes |= {f"{prefix}.{name}": () for name in scalars}
        shapes |= _layer_norm(f"{prefix}.norm_text", config.width)
        shapes |= _layer_norm(f"{prefix}.norm_image", config.width)
        shapes |= _attention(f"{prefix}.attention", config.width)
        shapes |= _mlp(f"{prefix}.mlp", config.width, config.mlp_dim)
        shapes |= _layers(f"{prefix}.layers", config, config.num_layers // config.num_iterations)
    return shapes


def _cross_attention(config: FusionConfig) -> Shapes:
    shapes = _layer_norm("fusion.norm_image", config.width)
    for i in range(config.num_layers):
        prefix = f"fusion.layers.{i}"
        shapes |= _layer_norm(f"{prefix}.norm", config.width)
        shapes |= _attention(f"{prefix}.cross_attention", config.width)
        shapes |= _self_layer(f"{prefix}.layer", config.width, config.mlp_dim)
    return shapes


def _perceiver(config: FusionConfig) -> Shapes:
    shapes: Shapes = {"fusion.latents": (config.num_latents, config.width)}
    for i in range(config.num_iterations):
        prefix = f"fusion.iterations.{i}"
        shapes |= _layer_norm(f"{prefix}.norm_latents", config.width)
        shapes |= _layer_norm(f"{prefix}.norm_tokens", config.width)
        shapes |= _layer_norm(f"{prefix}.norm_mlp", config.width)
        shapes |= _attention(f"{prefix}.attention", config.width)
        shapes |= _mlp(f"{prefix}.mlp", config.width, config.mlp_dim)
        shapes |= _layers(f"{prefix}.layers", config, 1)
    rest = max(config.num_layers - config.num_iterations, 0)
    return shapes | _layers("fusion.layers", config, rest)


def _co_tokenization(config: FusionConfig) -> Shapes:
    shapes: Shapes = {}
    for i in range(config.num_iterations):
        prefix = f"fusion.iterations.{i}"
        shapes[f"{prefix}.latents"] = (config.num_latents, config.width)
        shapes |= _layer_norm(f"{prefix}.norm_tokens", config.width)
        shapes |= _attention(f"{prefix}.attention", config.width)
        shapes |= _layers(f"{prefix}.layers", config, config.num_layers // config.num_iterations)
    return shapes


def _concat(config: FusionConfig) -> Shapes:
    return _layers("fusion.layers", config, config.num_layers)


_FUSIONS = {
    "joint_adaptive": _joint_adaptive,
    "concat": _concat,
    "cross_attention": _cross_attention,
    "perceiver": _perceiver,
    "co_tokenization": _co_tokenization,
}


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model, name to shape; a scalar has the shape ()."""
    fusion = config.fusion
    shapes = _vision(config.vision) | _text(config.text)
    shapes |= _linear("image_projection", config.vision.width, fusion.width)
    shapes |= _linear("text_projection", config.text.width, fusion.width)
    shapes |= _FUSIONS[fusion.kind](fusion) | _layer_norm("fusion.norm", fusion.width)
    shapes |= _linear("fused_projection", fusion.width, config.text.width)
    return shapes | _decoder(config)
