"""T5 v1.1 of Hugging Face as our text encoder, answer decoder and embedding.

Their query, key, value and output are q, k, v and o; the gated MLP's gate, up and down are wi_0,
wi_1 and wo; block 0 holds the relative position table of a whole stack.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tokenfuse_sdk.config import DecoderConfig, TextConfig
from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.init.hf_config import HfConfig
from tokenfuse_training.init.hf_folder import HfFolder

__all__ = ["HfText", "open_text"]

_DEFAULTS = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_decoder_layers": None,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
    "dense_act_fn": "gelu_new",
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "tie_word_embeddings": True,
    "scale_decoder_outputs": None,
}
_ATTENTION = {"query": "q", "key": "k", "value": "v", "output": "o"}
_MLP = {"gate": "wi_0", "up": "wi_1", "down": "wo"}
# A stack's sublayers in order, ours and theirs.
_ENCODER = (("attention", "SelfAttention"), ("mlp", "DenseReluDense"))
_DECODER = (
    ("self_attention", "SelfAttention"),
    ("cross_attention", "EncDecAttention"),
    ("mlp", "DenseReluDense"),
)
# Copies of the embedding, a table that no version reads, and heads of other tasks.
_IGNORED = (
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
    "classifier.",
    "classification_head.",
    "qa_outputs.",
)


class HfText:
    """The text side of a folder; made by `open_text`.

    Attributes:
        has_decoder: False for a T5EncoderModel.
    """

    def __init__(self, folder: HfFolder) -> None:
        self.folder = folder
        config = self._config = HfConfig(folder, folder.config, _DEFAULTS)
        config.must_be(
            "feed_forward_proj",
            "gated-gelu",
            because="the model is a T5 v1.1, whose MLP is gated; the first T5 (relu) is not",
        )
        config.must_be("dense_act_fn", "gelu_new", because="the MLP's gate is a tanh GELU")
        for name, value in (("pad_token_id", 0), ("eos_token_id", 1)):
            config.must_be(name, value, because="ids of the model are those of T5")
        config.must_be("decoder_start_token_id", 0, because="answers begin with the pad id")
        # Models of some tasks keep the stacks one level down.
        inside = any(name.startswith("transformer.") for name in folder.names)
        self._prefix = "transformer." if inside else ""
        self.has_decoder = any(
            name.startswith(f"{self._prefix}decoder.block.") for name in folder.names
        )
        names = ("relative_attention_num_buckets", "relative_attention_max_distance")
        buckets, distance = map(config.integer, names)
        self._text: dict[str, int] = {
            "vocab_size": config.integer("vocab_size"),
            "width": config.integer("d_model"),
            "num_layers": config.integer("num_layers"),
            "num_buckets": buckets,
            "max_distance": distance,
        }
        self._stack: dict[str, Any] = {
            "num_heads": config.integer("num_heads"),
            "head_dim": config.integer("d_kv"),
            "mlp_dim": config.integer("d_ff"),
            "eps": config.small("layer_norm_epsilon"),
        }

    def config(self, max_tokens: int) -> TextConfig:
        """The encoder's shape; texts have at most `max_tokens`.

        Raises:
            InitError: not a shape that the model can have.
        """
        try:
            return TextConfig(max_tokens=max_tokens, **self._text, **self._stack)
        except ConfigError as error:
            raise self.folder.error(f"has a shape that the model cannot have: {error}") from error

    def decoder_config(self, max_tokens: int) -> DecoderConfig:
        """The decoder's shape; answers have at most `max_tokens`. Raises as `config`."""
        layers = self._config["num_decoder_layers"]
        if layers is None:
            layers = self._text["num_layers"]
        try:
            return DecoderConfig(num_layers=layers, max_tokens=max_tokens, **self._stack)
        except ConfigError as error:
            raise self.folder.error(f"has a shape that the model cannot have: {error}") from error

    def weights(self, *, with_decoder: bool) -> dict[str, Tensor]:
        """The embedding and every `text.` tensor, and every `decoder.` one where asked for.

        Raises:
            InitError: a tensor is missing, unknown, of a wrong shape or not finite.
        """
        text = self.config(1)
        wanted = self._stack_names("text", "encoder", text.num_layers, _ENCODER)
        decoder = {}
        if self.has_decoder:
            layers = self.decoder_config(1).num_layers
            decoder = self._stack_names("decoder", "decoder", layers, _DECODER)
        shape = (text.vocab_size, text.width)
        shared = "shared.weight"
        if self._prefix + shared not in self.folder.names:
            shared = "encoder.embed_tokens.weight"
        self._refuse_unknown({*(name for name, _ in (wanted | decoder).values()), shared})
        weights = {
            ours: self.folder.tensor(self._prefix + theirs, size)
            for ours, (theirs, size) in (wanted | (decoder if with_decoder else {})).items()
        }
        weights["embedding.weight"] = self.folder.tensor(self._prefix + shared, shape)
        if with_decoder:
            weights["decoder.lm_head.weight"] = self._head(weights["embedding.weight"])
        return weights

    def _head(self, embedding: Tensor) -> Tensor:
        """The output head: its own, or the embedding where they are tied."""
        if "lm_head.weight" in self.folder.names:
            head = self.folder.tensor("lm_head.weight", tuple(embedding.shape))
        else:
            head = embedding.clone()
        scaled = self._config["scale_decoder_outputs"]
        if scaled is None:
            scaled = self._config["tie_word_embeddings"] is not False
        # They scale what the head reads; ours reads it as it is.
        return head * embedding.shape[1] ** -0.5 if scaled else head

    def _stack_names(
        self, ours: str, theirs: str, num_layers: int, parts: tuple[tuple[str, str], ...]
    ) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Our name to theirs and its shape, of a whole stack."""
        width, heads, hidden = (
            self._text["width"],
            self._stack["num_heads"],
            self._stack["mlp_dim"],
        )
        inner = heads * self._stack["head_dim"]
        table = f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        names: dict[str, tuple[str, tuple[int, ...]]] = {
            f"{ours}.relative_bias.weight": (table, (self._text["num_buckets"], heads)),
            f"{ours}.norm.weight": (f"{theirs}.final_layer_norm.weight", (width,)),
        }
        for i in range(num_layers):
            for j, (part, their_part) in enumerate(parts):
                new, old = f"{ours}.layers.{i}", f"{theirs}.block.{i}.layer.{j}"
                names[f"{new}.norm{j + 1}.weight"] = (f"{old}.layer_norm.weight", (width,))
                out = hidden if part == "mlp" else inner
                for name, their_name in (_MLP if part == "mlp" else _ATTENTION).items():
                    shape = (width, out) if name in ("down", "output") else (out, width)
                    names[f"{new}.{part}.{name}.weight"] = (
                        f"{old}.{their_part}.{their_name}.weight",
                        shape,
                    )
        return names

    def _refuse_unknown(self, known: set[str]) -> None:
        ignored = tuple(self._prefix + name for name in _IGNORED) + _IGNORED
        known = {self._prefix + name for name in known} | {"lm_head.weight"}
        unknown = sorted(n for n in self.folder.names - known if not n.startswith(ignored))
        if unknown:
            raise self.folder.error(
                f"has {unknown[0]!r} and {len(unknown) - 1} more tensors that a T5 v1.1 of its "
                "config.json does not have; check that config.json is of these weights"
            )


def open_text(path: str) -> HfText:
    """The text side of a Hugging Face folder.

    Raises:
        InitError: no such folder, damaged, or not a T5 v1.1.
    """
    folder = HfFolder(path, "init.text")
    family = folder.config.get("model_type")
    if family != "t5":
        raise folder.error(f"is no T5 (model_type={family!r}); a text encoder is a t5 v1.1")
    return HfText(folder)
