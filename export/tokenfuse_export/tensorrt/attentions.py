"""How many attentions a graph has: what an engine's report is compared with."""

from __future__ import annotations

from tokenfuse_sdk.config import ModelConfig

__all__ = ["num_attentions"]


def num_attentions(config: ModelConfig, graph: str) -> int:
    """Attentions in a graph, one for each softmax over a product of queries and keys.

    A "spatial" resampler has none: its weights come from a small network.
    """
    merges = int(config.fusion.resampler == "latent")
    if graph == "image_encoder":
        return config.vision.num_layers + merges
    if graph == "text_fusion":
        fusion = config.fusion
        return config.text.num_layers + merges + fusion.num_iterations + fusion.num_layers
    return 2 * config.decoder.num_layers
