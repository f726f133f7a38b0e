"""Captions, completions, matching and entailment, checked against the scene graph."""

from __future__ import annotations

import collections
import re

import pytest

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.data.scenes import (
    TASKS,
    Background,
    Rng,
    Scene,
    SceneObject,
    build_tokenizer,
    caption,
    sample_scene,
    stream_key,
    text_example,
)
from tokenfuse_training.data.scenes.vocabulary import INVISIBLE, words

NUM_SCENES = 1500


def words_of(item):
    return f"{item.color} {item.kind if item.digit is None else item.digit}"


def reading(scene):
    return [words_of(o) for o in sorted(scene.objects, key=lambda o: o.x)]


@pytest.fixture(scope="module")
def examples():
    found = []
    for i in range(NUM_SCENES):
        scene = sample_scene("train", i, seed=21)
        rng = Rng(stream_key(21, "train", i, "texts"))
        found += [(scene, text_example(scene, rng, task)) for task in TASKS]
    return found


def of_task(examples, task):
    return [(scene, e) for scene, e in examples if e is not None and e.task == task]


def test_a_scene_worked_by_hand():
    background = Background(rgb=(0, 0, 0), gradient_x=0, gradient_y=0, noise=0, noise_key=0)
    rest = {"rgb": (0, 0, 0), "radius": 0.1}
    objects = (
        SceneObject(kind="star", color="green", x=0.75, y=0.25, **rest),
        SceneObject(kind="circle", color="red", x=0.25, y=0.5, **rest),
        SceneObject(kind="digit", color="blue", x=0.5, y=0.75, digit=3, digit_index=0, **rest),
    )
    scene = Scene(objects=objects, background=background)
    assert caption(scene) == "red circle, blue 3, green star"
    assert caption(scene, "top to bottom") == "green star, red circle, blue 3"
    with pytest.raises(ValueError, match="order='right to left'"):
        caption(scene, "right to left")
    with pytest.raises(ValueError, match="task='draw'"):
        text_example(scene, Rng(0), "draw")


def test_captions_list_every_object_in_the_asked_order(examples):
    prompts = collections.Counter()
    for scene, e in of_task(examples, "caption"):
        prompts[e.prompt] += 1
        if e.prompt == "caption: top to bottom":
            expected = [words_of(o) for o in sorted(scene.objects, key=lambda o: o.y)]
        else:
            expected = reading(scene)
        assert e.target.split(", ") == expected
    assert set(prompts) == {"caption:", "caption: left to right", "caption: top to bottom"}
    assert min(prompts.values()) > 0.2 * NUM_SCENES


def test_completions_join_to_the_caption(examples):
    found = of_task(examples, "complete")
    for scene, e in found:
        start = e.prompt.removeprefix("complete: ")
        assert start.endswith(",") and f"{start} {e.target}".split(", ") == reading(scene)
    singles = sum(len(scene.objects) == 1 for scene, e in examples if e is None)
    assert len(found) + singles == NUM_SCENES


def test_matching_says_yes_only_to_the_caption(examples):
    answers = collections.Counter()
    for scene, e in of_task(examples, "match"):
        told = e.prompt.removeprefix("match: ").split(", ")
        assert e.target == ("yes" if told == reading(scene) else "no")
        answers[e.target] += 1
        # A mistake is small: it changes at most two objects, in their places.
        assert sum(a != b for a, b in zip(told, reading(scene), strict=True)) <= 2
    assert answers.total() == NUM_SCENES and abs(answers["yes"] / NUM_SCENES - 0.5) < 0.04


def entailed(scene, text):
    names = [words_of(o) for o in scene.objects]
    if match := re.fullmatch(r"there is an? (\w+ \w+)\.", text):
        return "yes" if match[1] in names else "no"
    if match := re.fullmatch(r"there are (\d) things\.", text):
        return "yes" if len(names) == int(match[1]) else "no"
    if text == "there is only 1 thing.":
        return "yes" if len(names) == 1 else "no"
    if match := re.fullmatch(rf"the (\w+ \w+) is ({'|'.join(INVISIBLE)})\.", text):
        return "maybe" if match[1] in names else "no"
    match = re.fullmatch(r"the (\w+ \w+) is (left of|right of|above|below) the (\w+ \w+)\.", text)
    assert match, text
    first, second = (scene.objects[names.index(match[k])] for k in (1, 3))
    assert names.count(match[1]) == names.count(match[3]) == 1
    axis, sign = {
        "left of": ("x", -1),
        "right of": ("x", 1),
        "above": ("y", -1),
        "below": ("y", 1),
    }[match[2]]
    distance = 64 * sign * (getattr(first, axis) - getattr(second, axis))
    assert abs(distance) >= 8
    return "yes" if distance > 0 else "no"


def test_entailment_is_exact(examples):
    answers = collections.Counter()
    for scene, e in of_task(examples, "entail"):
        assert e.target == entailed(scene, e.prompt.removeprefix("entail: ")), (e, scene)
        answers[e.target] += 1
    assert set(answers) == {"yes", "no", "maybe"} and answers.total() > 0.98 * NUM_SCENES
    assert min(answers.values()) > 0.2 * answers.total()


def test_the_words_of_a_statement_do_not_tell_whether_it_is_maybe(examples):
    hidden = collections.Counter(
        e.target
        for _, e in of_task(examples, "entail")
        if e.prompt.rstrip(".").split()[-1] in INVISIBLE
    )
    assert set(hidden) == {"maybe", "no"} and 0.4 < hidden["no"] / hidden.total() < 0.6


def test_texts_fit_the_tokenizer_and_the_models_limits(examples):
    tokenizer = build_tokenizer()
    for _, e in examples:
        if e is None:
            continue
        prompt, target = tokenizer.encode(e.prompt).ids, tokenizer.encode(e.target).ids
        assert 2 not in prompt and 2 not in target
        assert len(prompt) < 24 and len(target) < 16
        assert tokenizer.decode(target) == e.target


def test_words_of_pretraining_stand_behind_the_others():
    first, more = words(), words("scenes-pretrain")
    assert more[: len(first)] == first
    assert set(more[len(first) :]) == {"fill", "<mask>"}
    plain, wider = build_tokenizer(), build_tokenizer("scenes-pretrain")
    text = "match: a red circle, 8 blue stars."
    assert wider.encode(text).ids == plain.encode(text).ids
    ids = wider.encode("fill: red <mask>").ids
    assert ids == [more.index(word) for word in ("fill", ":", "red", "<mask>")]
    assert wider.decode(ids, skip_special_tokens=False) == "fill : red <mask>"
    with pytest.raises(ConfigError, match="choose one of scenes, scenes-pretrain"):
        build_tokenizer("words")
