"""Text encoder and decoder compute what Hugging Face's T5 v1.1 computes, from its files."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers.models.t5 import modeling_t5 as t5

from tokenfuse_training.init.hf_text import open_text
from tokenfuse_training.model.t5 import AnswerDecoder, TextEncoder, relative_buckets

_VOCAB, _WIDTH, _HEADS, _HEAD_DIM, _MLP, _LAYERS = 61, 40, 5, 12, 72, 3


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


def _their_config(num_buckets, max_distance, **changes):
    values = dict(
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
    return transformers.T5Config(**(values | changes))


def _part(weights, name):
    """A module's tensors of the model's, under its own names."""
    return {
        key.removeprefix(f"{name}."): value
        for key, value in weights.items()
        if key.startswith(f"{name}.")
    }


_MASKS = {"all": [9, 9], "padded": [9, 4], "one": [1, 2]}


@pytest.mark.parametrize("lengths", _MASKS.values(), ids=_MASKS)
def test_text_encoder_with_padding(lengths, randomise, check_parity, tmp_path):
    _check_encoder(lengths, 32, 128, randomise, check_parity, tmp_path)


@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (8, 20), (4, 3)])
def test_text_encoder_past_the_last_bucket(
    num_buckets, max_distance, randomise, check_parity, tmp_path
):
    lengths = [2 * max_distance + 5, max_distance + 2]
    _check_encoder(lengths, num_buckets, max_distance, randomise, check_parity, tmp_path)


def _check_encoder(lengths, num_buckets, max_distance, randomise, check_parity, folder):
    theirs = randomise(transformers.T5EncoderModel(_their_config(num_buckets, max_distance)))
    theirs.save_pretrained(folder)
    source = open_text(str(folder))
    assert not source.has_decoder
    weights = source.weights(with_decoder=False)
    ours = TextEncoder(source.config(64))
    ours.load_state_dict(_part(weights, "text"))
    embedding = weights["embedding.weight"]
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
def test_decoder_and_head(num_answer, masked, randomise, check_parity, tmp_path):
    theirs = transformers.T5ForConditionalGeneration(_their_config(16, 40))
    # An output head of its own, as the published v1.1 weights have.
    theirs.lm_head.weight = torch.nn.Parameter(torch.empty(_VOCAB, _WIDTH))
    randomise(theirs)
    assert theirs.lm_head.weight is not theirs.shared.weight
    _check_decoder(theirs, num_answer, masked, check_parity, tmp_path)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_head_that_is_the_embedding(scaled, randomise, check_parity, tmp_path):
    """What transformers 5 makes of a fresh model; where they were always tied, it is scaled."""
    # A width whose root is a power of 2: the scale rounds nothing.
    changes = {"num_decoder_layers": 2, "d_model": 64, "tie_word_embeddings": scaled}
    theirs = transformers.T5ForConditionalGeneration(_their_config(16, 40, **changes))
    assert theirs.config.scale_decoder_outputs is scaled
    randomise(theirs)
    # `randomise` gives a tied tensor one value: they stay one.
    assert theirs.lm_head.weight is theirs.shared.weight
    _check_decoder(theirs, 7, False, check_parity, tmp_path)


def _check_decoder(theirs, num_answer, masked, check_parity, folder):
    theirs.save_pretrained(folder)
    source = open_text(str(folder))
    weights = source.weights(with_decoder=True)
    ours = AnswerDecoder(source.config(64), source.decoder_config(64))
    ours.load_state_dict(_part(weights, "decoder"))
    embedding = weights["embedding.weight"]

    generator = torch.Generator().manual_seed(3)
    fused = torch.randn(2, 11, theirs.config.d_model, generator=generator, dtype=torch.float64)
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


def test_a_folder_of_another_task(randomise, tmp_path):
    """Its stack lies one level down; its head is passed over."""
    theirs = randomise(transformers.T5ForTokenClassification(_their_config(16, 40)))
    theirs.save_pretrained(tmp_path)
    weights = open_text(str(tmp_path)).weights(with_decoder=False)
    want = theirs.transformer.state_dict()
    assert torch.equal(weights["embedding.weight"], want["shared.weight"])
    last = f"encoder.block.{_LAYERS - 1}.layer.1.DenseReluDense.wo.weight"
    assert torch.equal(weights[f"text.layers.{_LAYERS - 1}.mlp.down.weight"], want[last])


def test_defaults_are_those_of_transformers():
    from tokenfuse_training.init import hf_text

    theirs = transformers.T5Config().to_dict()
    # They derive these from others.
    derived = ("num_decoder_layers", "dense_act_fn", "scale_decoder_outputs")
    derived += ("decoder_start_token_id",)
    names = [name for name in hf_text._DEFAULTS if name not in derived]
    assert {n: hf_text._DEFAULTS[n] for n in names} == {n: theirs[n] for n in names}


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
