"""Folders that are damaged, hostile, or of models that ours is not: all are an InitError."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tokenfuse_training.errors import InitError
from tokenfuse_training.init.hf_text import open_text
from tokenfuse_training.init.hf_vision import open_vision

_WEIGHTS = "model.safetensors"


def _import(folder):
    """All that a start reads of a folder."""
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") == "t5":
        source = open_text(str(folder))
        return source.weights(with_decoder=source.has_decoder)
    return open_vision(str(folder)).weights(32)


def _change_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v != "remove"}))


def _change_tensors(folder, change):
    tensors = load_file(folder / _WEIGHTS)
    change(tensors)
    save_file({name: t.contiguous() for name, t in tensors.items()}, folder / _WEIGHTS)


def _refused(folder, message):
    with pytest.raises(InitError, match=message) as error:
        _import(folder)
    assert str(folder) in str(error.value)


def test_no_folder(tmp_path):
    for path in (tmp_path / "nothing", ""):
        with pytest.raises(InitError, match="is not a folder"):
            open_vision(str(path))


def test_missing_files(copy_of, vit_folder):
    folder = copy_of(vit_folder)
    (folder / _WEIGHTS).rename(folder / "away")
    _refused(folder, r"has no model\.safetensors")
    (folder / "away").rename(folder / "pytorch_model.bin")
    _refused(folder, r"pickle.*save_pretrained")
    (folder / "config.json").unlink()
    with pytest.raises(InitError, match=r"has no config\.json"):
        open_vision(str(folder))


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1, "a": 2}', '{"a": NaN}', "{"])
def test_a_config_that_is_no_json(copy_of, vit_folder, text):
    folder = copy_of(vit_folder)
    (folder / "config.json").write_text(text)
    with pytest.raises(InitError, match=r"is damaged: config\.json"):
        open_vision(str(folder))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model_type": "clip"}, "'clip'.*vit, deit, siglip"),
        ({"model_type": "remove"}, "model_type=None"),
        ({"hidden_act": "relu"}, "hidden_act='relu'.*need 'gelu'"),
        ({"hidden_act": ["gelu"]}, "hidden_act="),
        ({"qkv_bias": False}, "qkv_bias=False"),
        ({"num_channels": 1}, "num_channels=1.*RGB"),
        ({"image_size": [32, 64]}, r"image_size=\[32, 64\]"),
        ({"patch_size": 0}, "patch_size=0"),
        ({"hidden_size": "32"}, "hidden_size='32'"),
        ({"hidden_size": 64}, r"shape \[32, 3, 8, 8\].*asks for \[64, 3, 8, 8\]"),
        ({"hidden_size": 1 << 30}, "shape that the model cannot have.*vision.width"),
        ({"num_attention_heads": 5}, "does not divide the width"),
        ({"num_hidden_layers": 2}, r"lacks the tensor 'encoder\.layer\.1\."),
        ({"num_hidden_layers": 0}, r"has 'encoder\.layer\.0.*more tensors"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps=0.0"),
        ({"image_size": 64}, r"position_embeddings' of shape \[1, 17, 32\]"),
    ],
)
def test_image_configs_that_are_refused(copy_of, vit_folder, changes, message):
    folder = copy_of(vit_folder)
    _change_config(folder, **changes)
    _refused(folder, message)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"feed_forward_proj": "relu"}, "T5 v1.1"),
        ({"feed_forward_proj": "remove"}, "feed_forward_proj='relu'"),
        ({"feed_forward_proj": "gated-silu"}, "gated-silu"),
        ({"dense_act_fn": "gelu"}, "dense_act_fn='gelu'"),
        ({"pad_token_id": 3}, "pad_token_id=3"),
        ({"decoder_start_token_id": 5}, "decoder_start_token_id=5"),
        ({"vocab_size": 256}, r"shared.weight' of shape \[128, 24\]"),
        ({"num_decoder_layers": 3}, r"lacks the tensor 'decoder\.block\.2"),
        ({"relative_attention_num_buckets": 30}, "text.num_buckets=30"),
        ({"d_kv": True}, "d_kv=True"),
    ],
)
def test_text_configs_that_are_refused(copy_of, t5_folder, changes, message):
    folder = copy_of(t5_folder)
    _change_config(folder, **changes)
    _refused(folder, message)


def test_another_kind_of_text_model(copy_of, vit_folder):
    with pytest.raises(InitError, match=r"model_type='vit'.*is a t5"):
        open_text(str(vit_folder))


def test_truncated_weights(copy_of, vit_folder):
    folder = copy_of(vit_folder)
    whole = (folder / _WEIGHTS).read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        (folder / _WEIGHTS).write_bytes(whole[:size])
        _refused(folder, "is damaged: model.safetensors")
    (folder / _WEIGHTS).write_bytes(whole + b"x")
    _refused(folder, "is damaged")


def test_tensors_that_are_wrong(copy_of, vit_folder):
    folder = copy_of(vit_folder)
    name = "embeddings.cls_token"
    for value, message in (
        (torch.zeros(1, 2, 32), "cls_token"),
        (torch.full((1, 1, 32), torch.nan), "NaN or infinity in 'embeddings.cls_token'"),
        (torch.full((1, 1, 32), 1e300, dtype=torch.float64), "NaN or infinity"),
        (torch.zeros(1, 1, 32, dtype=torch.int64), "weights are F32, F16, BF16 or F64"),
    ):
        _change_tensors(folder, lambda tensors, value=value: tensors.update({name: value}))
        _refused(folder, message)
    _change_tensors(folder, lambda tensors: tensors.pop(name))
    _refused(folder, f"lacks the tensor '{name}'")


def test_unknown_tensors_are_named_and_heads_are_not(copy_of, vit_folder, t5_folder):
    folder = copy_of(vit_folder)
    _change_tensors(folder, lambda t: t.update({"classifier.weight": torch.full((1,), torch.nan)}))
    _import(folder)
    _change_tensors(folder, lambda t: t.update({"adapter.weight": torch.zeros(1)}))
    _refused(folder, "has 'adapter.weight' and 0 more tensors")
    folder = copy_of(t5_folder)
    # Copies and a table that published T5 files still hold.
    old = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    copies = {f"{stack}.embed_tokens.weight" for stack in ("encoder", "decoder")} | {old}
    _change_tensors(folder, lambda t: t.update({name: torch.zeros(1) for name in copies}))
    _import(folder)
    _change_tensors(folder, lambda t: t.update({"encoder.block.7.x": torch.zeros(1)}))
    _refused(folder, "has 'encoder.block.7.x'")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(copy_of, vit_folder, t5_folder, dtype):
    for source in (vit_folder, t5_folder):
        folder = copy_of(source)
        rounded = {n: t.to(dtype) for n, t in load_file(folder / _WEIGHTS).items()}
        save_file(rounded, folder / _WEIGHTS)
        got = _import(folder)
        save_file({n: t.float() for n, t in rounded.items()}, folder / _WEIGHTS)
        for name, value in _import(folder).items():
            assert got[name].dtype == torch.float32
            assert torch.equal(got[name], value), name


def test_shards(copy_of, vit_folder):
    folder = copy_of(vit_folder)
    want = _import(folder)
    model = transformers.ViTModel.from_pretrained(folder)
    (folder / _WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    index = folder / "model.safetensors.index.json"
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    got = _import(folder)
    assert all(torch.equal(got[name], value) for name, value in want.items())

    whole = index.read_text()
    for name in ("../model.safetensors", "/etc/passwd", "sub/x.safetensors", "x.bin", 3):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        _refused(folder, "file names in this folder")
    index.write_text("{}")
    _refused(folder, "weight_map")
    index.write_text(whole)
    # A single file goes before shards.
    (folder / _WEIGHTS).write_bytes(b"")
    _refused(folder, "is damaged: model.safetensors is truncated")
    (folder / _WEIGHTS).unlink()
    shutil.copy(shards[0], folder / "twice.safetensors")
    both = json.loads(whole)
    both["weight_map"]["more"] = "twice.safetensors"
    index.write_text(json.dumps(both))
    _refused(folder, "in two files")
    index.write_text(whole)
    shards[1].unlink()
    _refused(folder, f"lacks {shards[1].name}")


def test_links_and_pipes(copy_of, vit_folder, tmp_path):
    for name in ("config.json", _WEIGHTS):
        folder = copy_of(vit_folder)
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
        with pytest.raises(InitError, match=f"holds the link {name}.*cp -rL"):
            open_vision(str(folder))
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(InitError, match="not a plain file"):
            open_vision(str(folder))
        shutil.rmtree(folder)
