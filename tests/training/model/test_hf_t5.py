"""Text encoder and decoder compute what Hugging Face's T5 v1.1 computes from the same weights."""

from __future__ import annotations

import pytest
import torch

from tokenfuse_sdk.config import DecoderConfig, TextConfig
from tokenfuse_training.model.t5 import AnswerDecoder, TextEncoder, relative_buckets

transformers = pytest.importorskip("transformers")
t5 = pytest.importorskip("transformers.models.t5.modeling_t5")

_VOCAB, _WIDTH, _HEADS, _HEAD_DIM, _MLP, _LAYERS = 61, 40, 5, 12, 72, 3
_SHAPE = {"num_layers": _LAYERS, "num_heads": _HEADS, "head_dim": _HEAD_DIM, "mlp_dim": _MLP}
_ATTENTION = {"query": "q", "key": "k", "value": "v", "output": "o"}
_MLP_NAMES = {"gate": "wi_0", "up": "wi_1", "down": "wo"}


@pytest.fixture(autouse=True)
def norm_in_full_precision(monkeypatch):
    """Theirs takes the variance in float32 even in a float64 model; only that is replaced."""
    original = t5.T5LayerNorm.forward

    def forward(self, x):
        if x.dtype != torch.float64:
            return original(self, x)
        return self.weight * (
            x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()
        )

    monkeypatch.setattr(t5.T5LayerNorm, "forward", forward)


def _text_config(num_buckets, max_distance):
    return TextConfig(
        vocab_size=_VOCAB,
        width=_WIDTH,
        num_buckets=num_buckets,
        max_distance=max_distance,
        **_SHAPE,
    )


def _their_config(num_buckets, max_distance):
    return transformers.T5Config(
        vocab_size=_VOCAB,
        d_model=_WIDTH,
        d_kv=_HEAD_DIM,
        d_ff=_MLP,
        num_layers=_LAYERS,
        num_decoder_layers=_LAYERS,
        num_heads=_HEADS,
        relative_attention_num_buckets=num_buckets,
        relative_attention_max_distance=max_distance,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )


def _stack(theirs, stack, parts):
    """A stack's tensors under our names; `parts` are its sublayers in order."""
    first = f"{stack}.block.0.layer.0.SelfAttention"
    weights = {
        "relative_bias.weight": theirs[f"{first}.relative_attention_bias.weight"],
        "norm.weight": theirs[f"{stack}.final_layer_norm.weight"],
    }
    for i in range(_LAYERS):
        for j, (ours, name) in enumerate(parts):
            old = f"{stack}.block.{i}.layer.{j}"
            weights[f"layers.{i}.norm{j + 1}.weight"] = theirs[f"{old}.layer_norm.weight"]
            for our, their in (_MLP_NAMES if ours == "mlp" else _ATTENTION).items():
                weights[f"layers.{i}.{ours}.{our}.weight"] = theirs[f"{old}.{name}.{their}.weight"]
    return weights


_MASKS = {"all": [9, 9], "padded": [9, 4], "one": [1, 2]}


@pytest.mark.parametrize("lengths", _MASKS.values(), ids=_MASKS)
def test_text_encoder_with_padding(lengths, randomise, check_parity):
    _check_encoder(lengths, 32, 128, randomise, check_parity)


@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (8, 20), (4, 3)])
def test_text_encoder_past_the_last_bucket(num_buckets, max_distance, randomise, check_parity):
    longest = 2 * max_distance + 5
    _check_encoder([longest, longest // 2], num_buckets, max_distance, randomise, check_parity)


def _check_encoder(lengths, num_buckets, max_distance, randomise, check_parity):
    theirs = randomise(transformers.T5EncoderModel(_their_config(num_buckets, max_distance)))
    names = theirs.state_dict()
    parts = [("attention", "SelfAttention"), ("mlp", "DenseReluDense")]
    ours = TextEncoder(_text_config(num_buckets, max_distance))
    ours.load_state_dict(_stack(names, "encoder", parts))
    embedding = names["shared.weight"].clone()
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    ids = torch.randint(2, _VOCAB, mask.shape, generator=torch.Generator().manual_seed(2)) * mask

    def run_ours(model):
        x = torch.nn.functional.embedding(ids, embedding.to(model.norm.weight.dtype))
        return model(x, mask)[mask]

    check_parity(
        ours,
        theirs,
        run_ours=run_ours,
        run_theirs=lambda model: model(ids, attention_mask=mask.long()).last_hidden_state[mask],
    )


@pytest.mark.parametrize("num_answer", [1, 7, 50])
@pytest.mark.parametrize("masked", [False, True])
def test_decoder_and_head(num_answer, masked, randomise, check_parity):
    num_buckets, max_distance = 16, 40
    theirs = transformers.T5ForConditionalGeneration(_their_config(num_buckets, max_distance))
    # An output head of its own, as the published v1.1 weights have.
    theirs.lm_head.weight = torch.nn.Parameter(torch.empty(_VOCAB, _WIDTH))
    randomise(theirs)
    assert theirs.lm_head.weight is not theirs.shared.weight
    names = theirs.state_dict()
    ours = AnswerDecoder(_text_config(num_buckets, max_distance), DecoderConfig(**_SHAPE))
    parts = [
        ("self_attention", "SelfAttention"),
        ("cross_attention", "EncDecAttention"),
        ("mlp", "DenseReluDense"),
    ]
    weights = _stack(names, "decoder", parts) | {"lm_head.weight": names["lm_head.weight"]}
    ours.load_state_dict(weights)
    embedding = names["shared.weight"].clone()

    generator = torch.Generator().manual_seed(3)
    fused = torch.randn(2, 11, _WIDTH, generator=generator, dtype=torch.float64)
    ids = torch.randint(2, _VOCAB, (2, num_answer), generator=generator)
    ids[:, 0] = 0
    mask = torch.ones(2, 11, dtype=torch.bool)
    mask[1, 6:] = not masked

    def run_ours(model):
        dtype = model.norm.weight.dtype
        x = torch.nn.functional.embedding(ids, embedding.to(dtype))
        return model(x, fused.to(dtype), mask if masked else None)

    def run_theirs(model):
        return model(
            encoder_outputs=(fused.to(model.lm_head.weight.dtype),),
            attention_mask=mask.long(),
            decoder_input_ids=ids,
            decoder_attention_mask=torch.ones_like(ids),
        ).logits

    check_parity(ours, theirs, run_ours=run_ours, run_theirs=run_theirs)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (64, 512), (8, 20), (4, 3)])
def test_relative_buckets(bidirectional, num_buckets, max_distance):
    keys, queries = torch.arange(700), torch.arange(700)
    theirs = t5.T5Attention._relative_position_bucket(
        keys[None] - queries[:, None],
        bidirectional=bidirectional,
        num_buckets=num_buckets,
        max_distance=max_distance,
    )
    ours = relative_buckets(
        700,
        700,
        bidirectional=bidirectional,
        num_buckets=num_buckets,
        max_distance=max_distance,
    )
    assert torch.equal(ours, theirs)
    assert ours.min() == 0
    # A query of row 0 sees keys ahead only, later rows behind: every bucket is reached
    # except the first one ahead, which stands for distance 0 ahead.
    assert len(ours.unique()) == num_buckets - int(bidirectional)
