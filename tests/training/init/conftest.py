"""Folders of tiny models with random weights, as `transformers` writes them, with a tokenizer."""

from __future__ import annotations

import io
import json
import random
import shutil

import pytest
import sentencepiece
import torch
import transformers

from tokenfuse_training.config.data_settings import ScenesData
from tokenfuse_training.config.stage_settings import StageSettings, TaskSettings
from tokenfuse_training.config.train_config import InitSettings, ModelSettings, TrainConfig
from tokenfuse_training.model.fusion import FusionIteration

_WORDS = (
    "the a red blue green cat dog sits on mat what color is left of right how many circles are "
    "there yes no picture image café naïve straße two three"
)


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    transformers.ViTModel(
        transformers.ViTConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=48,
            image_size=32,
            patch_size=8,
        )
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def spiece():
    """A unigram model with T5's ids, as the bytes of a spiece.model."""
    draw, words = random.Random(0), _WORDS.split()
    lines = [" ".join(draw.choice(words) for _ in range(8)) for _ in range(300)]
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=file,
        vocab_size=80,
        hard_vocab_limit=False,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        character_coverage=1.0,
        minloglevel=2,
    )
    return file.getvalue()


def _t5(kind, **changes):
    torch.manual_seed(1)
    values = {"vocab_size": 128, "d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2}
    values |= {"num_heads": 3, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    return kind(transformers.T5Config(**(values | changes)))


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory, spiece):
    """A whole T5 with an output head of its own, and a spiece.model with 10 sentinels."""
    folder = tmp_path_factory.mktemp("t5")
    model = _t5(transformers.T5ForConditionalGeneration)
    model.lm_head.weight = torch.nn.Parameter(torch.randn(128, 24))
    model.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(spiece)
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 10}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="session")
def t5_encoder_folder(tmp_path_factory, t5_folder):
    folder = tmp_path_factory.mktemp("t5_encoder")
    _t5(transformers.T5EncoderModel).save_pretrained(folder)
    for name in ("spiece.model", "tokenizer_config.json"):
        shutil.copy(t5_folder / name, folder)
    return folder


@pytest.fixture
def copy_of(tmp_path):
    """A folder of one's own, to be damaged at will."""

    def copy(folder):
        return shutil.copytree(folder, tmp_path / folder.name)

    return copy


@pytest.fixture
def run_config():
    """A config of which only the beginning matters."""

    def make(*, tokenizer=None, seed=0, preprocess=None, model=None, **init):
        return TrainConfig(
            name="trial",
            seed=seed,
            tokenizer=tokenizer,
            preprocess=preprocess or {},
            model=ModelSettings(**(model or {})),
            init=InitSettings(**{name: str(path) for name, path in init.items()}),
            data={"scenes": ScenesData()},
            stages=(
                StageSettings(
                    name="one",
                    steps=1,
                    batch_size=1,
                    tasks={"caption": TaskSettings(task="caption", data="scenes")},
                ),
            ),
        )

    return make


@pytest.fixture(scope="session")
def gates():
    """The values that a model's gates have."""

    def of(model):
        layers = [m for m in model.modules() if isinstance(m, FusionIteration)]
        assert layers
        return {float(gate.detach()) for layer in layers for gate in (layer.alpha, layer.beta)}

    return of
