"""`begin` with folders of Hugging Face: the stacks they hold, their pictures and their tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

import tokenfuse_sdk
from tokenfuse_sdk.bundle import write_bundle
from tokenfuse_sdk.errors import BundleFormatError, TokenfuseError
from tokenfuse_sdk.preprocess import PreprocessConfig, preprocess
from tokenfuse_sdk.sizes import named_config
from tokenfuse_sdk.tokenizer import Tokenizer
from tokenfuse_training.errors import InitError
from tokenfuse_training.model.fusion import FusionIteration
from tokenfuse_training.start import begin


@torch.no_grad()
def test_two_folders_are_joined(run_config, vit_folder, t5_folder, gates):
    """Each stack gives what `from_pretrained` gives, to 1e-5; the gates are closed."""
    started = begin(run_config(vision=vit_folder, text=t5_folder))
    model, config = started.model.eval(), started.model_config
    assert gates(model) == {0.0}
    assert config.fusion.width == named_config("nano").fusion.width
    generator = torch.Generator().manual_seed(3)

    vit = transformers.ViTModel.from_pretrained(vit_folder).eval()
    image = torch.randn(2, 32, 32, 3, generator=generator)
    want = vit(image.permute(0, 3, 1, 2)).last_hidden_state
    torch.testing.assert_close(model.encode_patches(image), want, rtol=0, atol=1e-5)

    t5 = transformers.T5ForConditionalGeneration.from_pretrained(t5_folder).eval()
    ids = torch.randint(2, 128, (2, 7), generator=generator)
    ids[1, 4:] = 0
    mask = ids != 0
    want = t5.encoder(ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(model.encode_text(ids)[mask], want[mask], rtol=0, atol=1e-5)
    fused = torch.randn(2, 5, 24, generator=generator)
    answer = torch.tensor([[0, 5, 9], [0, 77, 1]])
    want = t5(encoder_outputs=(fused,), decoder_input_ids=answer).logits
    torch.testing.assert_close(model.decode(answer, fused, None), want, rtol=1e-5, atol=1e-5)

    tokenizer = Tokenizer.from_json(started.tokenizer_json, vocab_size=config.text.vocab_size)
    theirs = transformers.AutoTokenizer.from_pretrained(t5_folder)
    text = "what color is the cat?"
    assert tokenizer.encode(text, 64).tolist() == theirs(text).input_ids
    assert any("decoder: of t5" in note for note in started.notes)
    # They stand in the model's card: no paths of this machine.
    assert not any("/" in note for note in started.notes)


def test_one_folder_alone(run_config, vit_folder, t5_encoder_folder, gates):
    seen = begin(run_config(vision=vit_folder, tokenizer="scenes", model={"size": "nano"}))
    assert gates(seen.model) == {1.0}
    assert seen.model_config.text.vocab_size == 98
    read = begin(run_config(text=t5_encoder_folder))
    assert gates(read.model) == {1.0}
    assert read.model_config.vision == named_config("nano").vision
    # The decoder is the size's, and random.
    assert read.model_config.decoder == named_config("nano").decoder
    assert any("decoder: random" in note for note in read.notes)
    assert len({seen.source, read.source}) == 2


def test_a_decoder_of_another_shape_is_random(run_config, t5_folder):
    taken = begin(run_config(text=t5_folder, model={"decoder": {"max_tokens": 9}}))
    assert any("decoder: of t5" in note for note in taken.notes)
    assert taken.model_config.decoder.max_tokens == 9
    random = begin(run_config(text=t5_folder, model={"decoder": {"num_layers": 1}}))
    assert random.model_config.decoder.num_layers == 1
    assert any("another shape" in note for note in random.notes)
    name = "decoder.lm_head.weight"
    assert not torch.equal(random.model.state_dict()[name], taken.model.state_dict()[name])


@pytest.mark.parametrize(
    "model, message",
    [
        ({"vision": {"width": 64}}, "model.vision.width=64, but init.vision.* has 32"),
        ({"vision": {"num_layers": 2}}, "may set image_size"),
        ({"vision": {"stem_widths": [8]}}, "stem_widths"),
        ({"text": {"vocab_size": 200}}, "model.text.vocab_size=200"),
        ({"vision": {"image_size": 36}}, "image_size=32, or another multiple"),
        ({"vision": {"image_size": "big"}}, "image_size"),
    ],
)
def test_settings_that_do_not_fit_the_folders(run_config, vit_folder, t5_folder, model, message):
    with pytest.raises(TokenfuseError, match=message):
        begin(run_config(vision=vit_folder, text=t5_folder, model=model))


def test_a_tokenizer_that_is_too_large_for_the_checkpoint(run_config, copy_of, t5_folder):
    folder = copy_of(t5_folder)
    (folder / "tokenizer_config.json").write_text('{"extra_ids": 100}')
    with pytest.raises(BundleFormatError, match="room for 128"):
        begin(run_config(text=folder))


def test_how_pictures_are_prepared(run_config, copy_of, vit_folder):
    folder = copy_of(vit_folder)
    path = folder / "preprocessor_config.json"
    values = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 1], "resample": 3}

    def start(**changes):
        path.write_text(json.dumps(values | changes))
        return begin(run_config(vision=folder, tokenizer="scenes"))

    started = start(do_center_crop=True)
    want = PreprocessConfig(
        image_size=32, fit="stretch", image_mean=(0.1, 0.2, 0.3), image_std=(0.5, 0.25, 1.0)
    )
    assert started.preprocess == want
    assert sum("crops" in note or "another filter" in note for note in started.notes) == 2
    plain = start(do_normalize=False).preprocess
    assert (plain.image_mean, plain.image_std) == ((0.0,) * 3, (1.0,) * 3)
    for changes in (
        {"image_mean": [1]},
        {"image_mean": [10**400, 0, 0]},
        {"image_std": [0, 0, 0]},
        {"rescale_factor": 1},
        {"rescale_factor": 10**400},
        {"do_rescale": False},
    ):
        with pytest.raises(ValueError, match=r"init\.vision.*preprocessor_config"):
            start(**changes)


@torch.no_grad()
def test_a_distilled_deit_answers_in_the_engine(run_config, t5_folder, tmp_path):
    """From folders to a bundle: the engine and the map of tokens know its two class tokens."""
    torch.manual_seed(2)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 48, "image_size": 32, "patch_size": 8}
    deit = transformers.DeiTModel(transformers.DeiTConfig(**sizes))
    for parameter in deit.parameters():
        # Tokens and positions of a fresh one are all zero.
        parameter.add_(0.2 * torch.randn_like(parameter))
    deit.save_pretrained(tmp_path / "deit")
    started = begin(run_config(vision=tmp_path / "deit", text=t5_folder))
    model = started.model.eval()
    for gate in (m for m in model.modules() if isinstance(m, FusionIteration)):
        gate.alpha.fill_(1.0)
        gate.beta.fill_(1.0)
    image_u8 = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    write_bundle(
        tmp_path / "bundle",
        config=started.model_config,
        preprocess=started.preprocess,
        tokenizer_json=started.tokenizer_json.decode(),
        weights={name: value.numpy() for name, value in model.state_dict().items()},
        card="# trial\n",
        golden={"image_u8": image_u8[None]},
    )
    image = torch.from_numpy(preprocess(image_u8, started.preprocess))[None]
    want = deit.eval()(image.permute(0, 3, 1, 2)).last_hidden_state
    torch.testing.assert_close(model.encode_patches(image), want, rtol=0, atol=1e-5)
    with tokenfuse_sdk.load(tmp_path / "bundle", device="cpu", precision="fp32") as loaded:
        tokens = loaded.encode_image(image_u8)
        torch.testing.assert_close(
            torch.from_numpy(tokens.f_ND.copy()), model.encode_image(image)[0], rtol=0, atol=1e-4
        )
        weights = loaded.token_map(image_u8).weights
        # What the two class tokens took is missing.
        assert weights.shape[1:] == (4, 4)
        assert weights.sum(axis=(1, 2)).max() < 0.99
        assert loaded.answer(tokens, "what color is the cat?").num_tokens > 0


def test_a_folder_of_pictures_is_no_text_side(run_config, vit_folder, tmp_path):
    # It has no tokenizer either, which is not what is wrong.
    with pytest.raises(InitError, match=r"init\.text=.* is no T5 \(model_type='vit'\)"):
        begin(run_config(text=vit_folder))
    with pytest.raises(InitError, match=r"init\.text=.* is not a folder"):
        begin(run_config(text=tmp_path / "none"))
