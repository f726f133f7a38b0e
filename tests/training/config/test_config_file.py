"""A config as a user writes it: read whole, every mistake named, single values set over it."""

from __future__ import annotations

import pytest
import yaml

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.config_file import config_yaml, read_config, recipe_names
from tokenfuse_training.config.data_settings import (
    DATA_FORMATS,
    CocoCaptionsData,
    ScenesData,
    Vqa2Data,
    WebDatasetData,
)
from tokenfuse_training.samplers.sampler import SAMPLERS

TEXT = """
name: mine
seed: 7
model:
  size: nano
  vision: {image_size: 32, stem_widths: [8]}
tokenizer: scenes
data:
  captions: &coco {format: coco_captions, annotations: captions_train2017.json, images: train2017}
  captions.val: {<<: *coco, annotations: captions_val2017.json}
  vqa: {format: vqa2, root: /data, questions: q.json, annotations: a.json, images: train2014}
  shards: {format: webdataset, shards: ["cc-{000..003}.tar"], num_streams: 2}
stages:
  - name: pretrain
    steps: 1e2
    batch_size: 8
    learning_rate: 1e-3
    tasks:
      caption: {task: caption, data: captions}
      match: {task: match, data: captions, texts: 2, options: {share: 0.5}}
    sampler: {kind: difficulty}
    betas: [0.9, 0.95]
  - name: finetune
    steps: 50
    batch_size: 8
    tasks: {vqa: {task: vqa, data: vqa}}
evaluate:
  vqa: {task: vqa, data: vqa}
run: {device: cpu, checkpoint_minutes: 1}
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_every_value_arrives_with_its_type(path):
    config = read_config(path)
    assert (config.name, config.seed, config.tokenizer) == ("mine", 7, "scenes")
    assert config.model.vision == {"image_size": 32, "stem_widths": [8]}
    assert isinstance(config.data["captions"], CocoCaptionsData)
    assert config.data["captions.val"].annotations == "captions_val2017.json"
    assert config.data["captions.val"].images == "train2017"
    assert config.data["vqa"] == Vqa2Data(
        root="/data", questions="q.json", annotations="a.json", images="train2014"
    )
    assert isinstance(config.data["shards"], WebDatasetData)
    assert config.data["shards"].shards == ("cc-{000..003}.tar",)
    pretrain, finetune = config.stages
    assert pretrain.steps == 100
    assert type(pretrain.steps) is int
    assert pretrain.learning_rate == 0.001
    assert pretrain.betas == (0.9, 0.95)
    assert pretrain.tasks["match"].options == {"share": 0.5}
    assert pretrain.sampler.kind == "difficulty"
    assert finetune.sampler.kind == "stratified"
    assert config.evaluate["vqa"].num_questions == 0
    assert type(config.run.checkpoint_minutes) is float
    assert read_config(str(path)) == config


def test_a_config_is_written_as_it_is_read(path, tmp_path):
    config = read_config(path)
    again = tmp_path / "again.yaml"
    again.write_text(config_yaml(config))
    assert read_config(again) == config
    # In full: what the user left out is there.
    assert yaml.safe_load(again.read_text())["stages"][1]["ema_decay"] == 0.995


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_reads_by_its_name(name):
    assert read_config(name).name == name


@pytest.mark.parametrize(
    ("sets", "read"),
    [
        (["seed=3", "seed=4"], lambda c: c.seed == 4),
        (["stages.finetune.steps=5"], lambda c: c.stages[1].steps == 5),
        (["stages.1.steps=5"], lambda c: c.stages[1].steps == 5),
        (["stages.pretrain.tasks.match.texts=3"], lambda c: c.stages[0].tasks["match"].texts == 3),
        (["stages.pretrain.betas.1=0.5"], lambda c: c.stages[0].betas == (0.9, 0.5)),
        (["stages.pretrain.betas=[0.1, 0.2]"], lambda c: c.stages[0].betas == (0.1, 0.2)),
        (["stages.pretrain.learning_rate=3e-4"], lambda c: c.stages[0].learning_rate == 3e-4),
        # What is not there yet is made; a name with a dot is found.
        (["stages.finetune.sampler.kind=odm"], lambda c: c.stages[1].sampler.kind == "odm"),
        (["data.captions.val.limit=9"], lambda c: c.data["captions.val"].limit == 9),
        (["init.text=a=b"], lambda c: c.init.text == "a=b"),
        (["data.s={format: scenes, split: val}"], lambda c: c.data["s"] == ScenesData(split="val")),
        # Every entry that is there.
        (["stages.*.steps=5"], lambda c: [s.steps for s in c.stages] == [5, 5]),
        (["data.*.root=/d"], lambda c: {d.root for d in c.data.values()} == {"/d"}),
        (
            ["stages.*.tasks.*.texts=4", "stages.0.tasks.match=null"],
            lambda c: [t.texts for s in c.stages for t in s.tasks.values()] == [4, 4],
        ),
        # null takes away, or gives the default back.
        (["stages.pretrain.tasks.match=null"], lambda c: list(c.stages[0].tasks) == ["caption"]),
        (["stages.pretrain=null"], lambda c: [s.name for s in c.stages] == ["finetune"]),
        (["evaluate=null"], lambda c: c.evaluate == {}),
        (["seed=null", "tokenizer=null"], lambda c: (c.seed, c.tokenizer) == (0, None)),
    ],
    ids=str,
)
def test_single_values_are_set(path, sets, read):
    assert read(read_config(path, sets))


ALIASES = """
name: mine
data:
  a: &a {format: scenes, families: &f [color, digit]}
  b: *a
  c: {<<: *a, num_scenes: 5}
  d: {<<: [{format: scenes, split: val}, *a]}
stages:
  - &one
    name: one
    steps: 1
    batch_size: 1
    sampler: &s {kind: odm}
    tasks: {t: {task: scenes, data: a}}
  - {<<: *one, name: two}
  - {name: three, steps: 1, batch_size: 1, sampler: *s, tasks: {t: {task: scenes, data: b}}}
"""


def test_what_an_alias_repeats_is_set_alone(tmp_path):
    path = tmp_path / "aliases.yaml"
    path.write_text(ALIASES)
    sets = ["data.a.num_scenes=99", "data.c.families.0=shape", "stages.two.sampler.kind=difficulty"]
    config = read_config(path, [*sets, "stages.one.tasks.t.texts=7"])
    assert [d.num_scenes for d in config.data.values()] == [99, 10_000, 5, 10_000]
    # The first of several wins under `<<`, and the mapping's own keys win over all.
    assert [d.split for d in config.data.values()] == ["train", "train", "train", "val"]
    color, shape = ("color", "digit"), ("shape", "digit")
    assert [d.families for d in config.data.values()] == [color, color, shape, color]
    assert [s.sampler.kind for s in config.stages] == ["odm", "difficulty", "odm"]
    assert [s.tasks["t"].texts for s in config.stages] == [7, 1, 1]


def test_what_a_star_sets_is_set_alone(path):
    sets = ["stages.*.sampler={kind: odm}", "stages.pretrain.sampler.kind=stratified"]
    assert [s.sampler.kind for s in read_config(path, sets).stages] == ["stratified", "odm"]


def test_values_of_options_are_no_yaml(path):
    config = read_config(path, ["init.text=x"], values={"init.text": "a: b #1", "init.vision": "1"})
    assert (config.init.text, config.init.vision) == ("a: b #1", "1")


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["seeds=3"], ["seeds: no such key", "did you mean 'seed'?", "allowed: name, seed"]),
        (["stages.finetune.stpes=3"], ["stages.finetune.stpes", "'steps'", "batch_size"]),
        (["stages.finetun.steps=3"], ["stages.finetun", "'finetune'", "pretrain, finetune"]),
        (["stages.7.steps=3"], ["stages.7", "0 to 1"]),
        (["data.vqa.image=x"], ["data.vqa.image", "did you mean 'images'?"]),
        (["data.vqa.format=vqa"], ["data.vqa.format='vqa'", "'vqa2'", "webdataset"]),
        (["data.x={limit: 3}"], ["data.x.format=None", "need one of vqa2"]),
        (["data.vqa.questions=null"], ["data.vqa.questions: has no default; set it"]),
        (["data.vqa.limit=some"], ["data.vqa.limit='some': need an integer"]),
        (["data.vqa.limit=1.5"], ["data.vqa.limit=1.5: need an integer"]),
        (["data.vqa.limit=true"], ["data.vqa.limit=True: need an integer"]),
        (["data.vqa.limit=-1"], ["data.vqa.limit=-1: need", "at least 0"]),
        (["data.vqa.questions=[q]"], ["data.vqa.questions=['q']: need text"]),
        (["run.compile=1"], ["run.compile=1: need true or false"]),
        (["run.peak_tflops=.inf"], ["run.peak_tflops", "no finite number"]),
        (["stages.finetune.learning_rate=high"], ["learning_rate='high': need a number"]),
        (["stages.finetune.betas=0.9"], ["stages.finetune.betas=0.9: need a list"]),
        (["stages.finetune.tasks.vqa.task=vqq"], ["tasks.vqa", "one of caption"]),
        (["stages.finetune.tasks.vqa.data=vq"], ["stages.finetune.tasks.vqa.data='vq'"]),
        (["stages=null"], ["stages: has no default"]),
        (["stages=[]"], ["at least one stage"]),
        (["seed.x=1"], ["seed is 7, in which there is no 'x'"]),
        (["run.device"], ["need key=value"]),
        (["init.*=x"], ["init has no entries"]),
        (["seed.*=x"], ["seed is 7"]),
        (["run..device=cpu"], ["names with dots between them"]),
        (["name={a: 1, a: 2}"], ["line 1", "'a' twice"]),
        (["name={"], ["--set name: not YAML", "line 1, column 2", "quotes"]),
        (["data.shards.shards=[a-{0..3}.tar]"], ["not YAML", """as ["a-{0..3}.tar"]"""]),
        (["stages.finetune.steps=0"], ["stages.finetune.steps=0: need"]),
        (["stages.finetune.tasks={A b: {task: vqa, data: vqa}}"], ["stages.finetune.tasks.name="]),
        (["stages.finetune.sampler.kind=x"], ["stages.finetune.sampler.kind='x'"]),
        (
            ["stages.finetune.patch_weight=1", "stages.finetune.freeze=[image]"],
            ["stages.finetune.patch_weight=1.0 trains"],
        ),
        (["stages.finetune.patch_weight=1"], ["stages.finetune.patch_weight=1 needs the labels"]),
        (["run.precision=fp8"], ["run.precision='fp8': need"]),
        (["evaluate.vqa.task=x"], ["evaluate.vqa.task='x'"]),
        (["model.size=huge"], ["model.size='huge': need one of nano"]),
        (["seed=-1"], ["seed=-1: need"]),
        ([f"seed={1 << 63}"], [f"seed={1 << 63}: need an integer from 0 to {(1 << 63) - 1}"]),
        (["init.bundle=x", "init.text=y"], ["init.bundle holds a whole model"]),
        (["name=2020-01-01"], ["put it in quotes"]),
        (["data={1: {format: scenes}}"], ["key 1 is no text"]),
    ],
    ids=str,
)
def test_mistakes_are_named(path, sets, words):
    with pytest.raises(ConfigError) as error:
        read_config(path, sets)
    for word in words:
        assert word in str(error.value)
    said = str(error.value)
    # In one line, and where it is stands there once.
    assert "\n" not in said
    assert not any(two in said for two in ("stage '", "run: ", "data.data", "config.", "init: "))


def unfolding(first, merge):
    """Ten lines, each of which has the one before it ten times."""
    lines = [b"a0: &a0 " + first]
    for i in range(1, 11):
        lines.append(b"a%d: &a%d " % (i, i) + merge(b",".join([b"*a%d" % (i - 1)] * 10)))
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (TEXT.replace("seed: 7", "seed: 7\nseed: 8").encode(), ["line 4", "'seed' twice"]),
        (b"- a\n", ["keys and values at the top"]),
        (b"", ["keys and values at the top"]),
        (b"\xff\xfe", ["UTF-8"]),
        (b"a: !!python/object/apply:os.getcwd []\n", ["not YAML"]),
        (b"a: " + b"[" * 50_000, ["nested too deep"]),
        (b"#" * (1 << 20) + b"\na: 1", ["bytes"]),
        # Ten names that unfold to 10^10 values.
        (unfolding(b"[1]", lambda names: b"[%s]" % names), ["100,000 values"]),
        # The same with `<<`: mappings of one key, of which 10^10 would be merged.
        (unfolding(b"{k: 1}", lambda names: b"{<<: [%s]}" % names), ["a0: no such key"]),
        # And one large mapping, merged often.
        (
            b"a: &a {%s}\n" % b",".join(b"k%d: 1" % i for i in range(1000))
            + b"b: {<<: [%s]}\n" % b",".join([b"*a"] * 1000),
            ["100,000 values"],
        ),
        (b"a: &a [*a]\n", ["nested too deep"]),
        (b"a: &a {<<: *a, b: {<<: *a}}\n", ["nested too deep"]),
        # As deep as the one before it, through aliases: no parser's stack is in the way.
        (
            b"a0: &a0 1\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (i, i, i - 1) for i in range(1, 99)),
            ["nested too deep"],
        ),
        (b"a: {<<: 1}\n", ["line 1", "`<<` needs keys and values"]),
        (b"? [1]\n: 2\n", ["line 1", "a key that is no text"]),
    ],
    ids=[
        "twice",
        "list",
        "empty",
        "bytes",
        "tag",
        "deep",
        "large",
        "unfolds",
        "merges",
        "often",
        "itself",
        "merges itself",
        "deep aliases",
        "merges a number",
        "key",
    ],
)
def test_files_that_are_no_config(tmp_path, data, words):
    path = tmp_path / "bad.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as error:
        read_config(path)
    for word in words:
        assert word in str(error.value)


def test_names_that_are_no_recipe(tmp_path):
    near = recipe_names()[0]
    with pytest.raises(ConfigError, match=f"did you mean '{near}'"):
        read_config(near + "x")
    with pytest.raises(ConfigError, match="no such file"):
        read_config(tmp_path / "none.yaml")


def test_formats_and_samplers_are_those_of_the_docs():
    # What a file may say; a change is a change of every user's file.
    assert list(DATA_FORMATS) == [
        "vqa2", "gqa", "snli_ve", "coco_captions", "webdataset", "scenes",
    ]  # fmt: skip
    assert SAMPLERS == ("stratified", "proportional", "difficulty", "odm", "learning_progress")
