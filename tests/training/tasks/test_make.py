"""Every task that a config may name: made, sent to a worker, the same with the same draws."""

from __future__ import annotations

import pickle

import pytest

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.stage_settings import TaskSettings
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.scenes.vocabulary import build_tokenizer
from tokenfuse_training.tasks.fill import Fill
from tokenfuse_training.tasks.make import make_task
from tokenfuse_training.tasks.prefixes import PREFIXES, TASKS
from tokenfuse_training.tasks.scenes import ScenesTask


@pytest.fixture(scope="session")
def full(make_record, make_question):
    """Something for every task; no word twice, so that a leak would show."""
    return make_record(
        "the red dog runs on grass",
        "a small cat sleeps near two table",
        other_caption="big blue grass",
        questions=(make_question("what runs?", ("dog", 1.0)),),
        statements=(make_question("two cat.", ("neutral", 1.0)),),
    )


@pytest.mark.parametrize("name", [name for name in TASKS if name != "scenes"])
def test_each_is_made_pickles_and_repeats_itself(name, full, make_coder, make_draw):
    coder = make_coder("mask")
    task = make_task(TaskSettings(task=name, data="x"), coder)
    again = pickle.loads(pickle.dumps(task))
    assert task.terms == again.terms == {"": 1.0}
    assert again.needs_other_caption == (name == "match")
    several = set()
    for seed in range(30):
        texts = task.texts(full, make_draw(seed), 2)
        assert texts == again.texts(full, make_draw(seed), 2)
        several.add(str(texts))
        for text in texts:
            prompt = text.prompt if isinstance(text.prompt, str) else coder.decode(text.prompt)
            assert prompt.replace(" :", ":").startswith(PREFIXES[name])
            assert coder.prompt_ids(text.prompt)
            for target in text.targets:
                written = coder.target_ids(getattr(target, "text", target))[:-1]
                # Nothing of the answer stands in the prompt.
                assert written and not set(written) & set(coder.prompt_ids(text.prompt))
            assert sum(getattr(target, "weight", 1.0) for target in text.targets) == 1.0
    assert len(several) > 1 or name in ("vqa", "gqa", "entail")


def test_scenes_is_made_of_its_own_settings(make_coder):
    settings = TaskSettings(task="scenes", data="x", options={"questions": 2, "stones": 1})
    task = make_task(settings, make_coder("mask"))
    assert isinstance(task, ScenesTask)
    assert set(task.terms) == {"question", "stone"}


def test_options(make_coder):
    coder = make_coder("mask")
    fill = make_task(
        TaskSettings(task="fill", data="x", options={"share": 0.3, "mean_words": 2}), coder
    )
    assert fill == Fill(coder, share=0.3, mean_words=2.0)
    for name, options, said in (
        ("caption", {"share": 0.3}, "no option share; it has none"),
        ("fill", {"rate": 0.3}, "no option rate; it has share, mean_words"),
        ("fill", {"share": 1.5}, "number from 0 to 1"),
        ("fill", {"share": True}, "number from 0 to 1"),
        ("fill", {"share": float("nan")}, "number from 0 to 1"),
        ("fill", {"mean_words": "3"}, "number from 1 to 100"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_task(TaskSettings(task=name, data="x", options=options), coder)


def test_a_vocabulary_without_the_tasks_words_is_refused_at_once(make_draw):
    coder = TextCoder(
        build_tokenizer().to_str().encode(),
        vocab_size=98,
        max_text_tokens=24,
        max_answer_tokens=16,
    )
    with pytest.raises(ConfigError, match=r"fill needs 'fill:'.*scenes-pretrain"):
        make_task(TaskSettings(task="fill", data="x"), coder)
    assert make_task(TaskSettings(task="complete", data="x"), coder)
