"""Records to tensors, against what the records say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_data import SIZE, Numbers, Other, Say, stage_of

from tokenfuse_sdk.preprocess import PreprocessConfig, decode_image, preprocess
from tokenfuse_training.data.collate import Collate, normalise, term_names
from tokenfuse_training.data.record import Answer, Record, SceneRecord
from tokenfuse_training.data.sample import Drawn, SampleMaker
from tokenfuse_training.tasks.task import Text

TASKS = {"say": Say(), "other": Other()}


@pytest.fixture
def collate(coder):
    def make(source, tasks=TASKS, size=SIZE):
        maker = SampleMaker(
            stage=stage_of(dict.fromkeys(tasks, "numbers")),
            tasks=tasks,
            sources={"numbers": source},
            coder=coder,
            preprocess=PreprocessConfig(image_size=size),
            seed=7,
        )
        return Collate(maker)

    return make


def drawn(*pairs):
    return [Drawn(task=task, position=p, raw=p) for task, p in pairs]


def test_a_batch_says_what_its_records_say(collate, coder):
    batch = collate(Numbers(40))(drawn(("say", 12), ("other", 31), ("say", 7)))
    assert batch.keys == ("number:12", "number:31", "number:7")
    assert batch.image_u8_BHW3.dtype == torch.uint8
    assert batch.image_u8_BHW3[:, 3, 4, 1].tolist() == [12, 31, 7]
    assert batch.task_B.tolist() == [0, 1, 0]
    assert batch.image_index_Q.tolist() == [0, 1, 1, 2]
    assert batch.text_index_R.tolist() == [0, 1, 1, 2, 3]
    assert batch.terms == ("say", "other/half", "other/whole")
    assert batch.term_R.tolist() == [0, 1, 1, 2, 0]
    assert batch.weight_R.tolist() == [1.0, 0.25, 0.75, 1.0, 1.0]
    assert [batch.kinds[i] for i in batch.kind_Q] == ["say/say", "other/a", "other/b", "say/say"]
    said = [coder.decode(row.tolist()) for row in batch.target_RA]
    assert said == ["1 2", "yes", "no", "3 1", "7"]
    ends = [row[row != 0].tolist()[-1] for row in (*batch.target_RA, *batch.text_QL)]
    assert set(ends) == {1}
    assert [coder.decode(row.tolist())[:9] for row in batch.text_QL[[0, 3]]] == ["caption :"] * 2
    assert batch.num_bad == {"say": 0, "other": 0} and batch.bad == ()
    assert batch.patch_color_BS is None


def test_the_other_caption_is_of_another_picture(collate, coder):
    made = collate(Numbers(3))
    batch = made(
        drawn(
            *(("other", i) for i in range(3)),
        )
    )
    for number in range(40):
        batch = made([Drawn(task="other", position=number, raw=1)])
        other = coder.decode(batch.text_QL[0].tolist()).split()[-1]
        assert other in ("0", "2")
    # Where there is none, the task says so.
    assert made_bad(collate(Numbers(1)), ("other", 0)) == [
        "other: number:0: it has no other caption"
    ]


def made_bad(collate, *pairs):
    return list(collate(drawn(*pairs)).bad)


def test_bad_records_are_left_out_and_told(collate):
    batch = collate(Numbers(40, bad=(3, 5)))(drawn(("say", 3), ("say", 4), ("other", 5)))
    assert batch.keys == ("number:4",)
    assert batch.num_bad == {"say": 1, "other": 1}
    assert batch.bad == ("say: number 3 is bad", "other: number 5 is bad")


class Odd(Numbers):
    """One record, as given."""

    def __init__(self, **changed):
        super().__init__(1)
        self.given = {"key": "odd", "image": np.zeros((4, 4, 3), np.uint8), "captions": ("red",)}
        self.given |= changed

    def record(self, index):
        return Record(**self.given)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"image": "/nowhere/picture.jpg"}, "picture.jpg cannot be read"),
        ({"image": b"no picture"}, "not a picture"),
        ({"image": b""}, "empty"),
        ({"captions": ("",)}, "empty"),
        ({"captions": ("a zebra",)}, "'zebra'"),
    ],
)
def test_a_bad_picture_or_text_names_the_record_and_why(collate, changed, says):
    (message,) = made_bad(collate(Odd(**changed), {"say": Say()}), ("say", 0))
    assert message.startswith("say: odd: ")
    assert says in message


def test_where_nothing_is_left_a_blank_picture_counts_for_nothing(collate):
    for pairs in ((), (("say", 3),)):
        batch = collate(Numbers(40, bad=(3,)))(drawn(*pairs))
        assert batch.image_u8_BHW3.shape == (1, SIZE, SIZE, 3)
        assert batch.weight_R.tolist() == [0.0]
        assert batch.text_QL.tolist() == batch.target_RA.tolist() == [[1]]
        assert batch.num_bad["say"] == len(pairs)


def test_pictures_are_fitted_as_in_use(collate):
    image = np.random.default_rng(0).integers(0, 256, (9, 23, 3), dtype=np.uint8)
    batch = collate(Odd(image=image), {"say": Say()}, size=8)(drawn(("say", 0)))
    for fit in ("pad", "stretch"):
        config = PreprocessConfig(image_size=8, image_mean=(0.1, 0.2, 0.3), fit=fit)
        same = fit == "pad"
        ours = normalise(batch.image_u8_BHW3, config)[0].numpy()
        assert np.array_equal(ours, preprocess(decode_image(image), config)) == same


@pytest.mark.parametrize("mean", [(0.5, 0.5, 0.5), (0.485, 0.456, 0.406)])
@pytest.mark.parametrize("std", [(0.5, 0.5, 0.5), (0.229, 0.224, 0.225)])
def test_normalising_is_the_sdks_to_the_last_bit(mean, std):
    # Every value in every channel, in another order each.
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.stack([values, values.T, values[::-1]], axis=-1)
    images = np.stack([image, image[::-1]])
    config = PreprocessConfig(image_size=16, image_mean=mean, image_std=std)
    given = torch.from_numpy(images)
    ours = normalise(given, config)
    assert ours.dtype == torch.float32
    np.testing.assert_array_equal(ours.numpy(), np.stack([preprocess(x, config) for x in images]))
    assert torch.equal(given, torch.from_numpy(images))


class Labelled(Numbers):
    def record(self, index):
        return SceneRecord(
            key=f"scene:{index}",
            image=np.zeros((SIZE, SIZE, 3), np.uint8),
            captions=("red",),
            patch_color=np.full(4, index, np.uint8),
            patch_kind=np.arange(4, dtype=np.uint8),
        )


def test_labels_of_a_generator_come_along(collate):
    batch = collate(Labelled(9), {"say": Say()})(drawn(("say", 2), ("say", 5)))
    assert batch.patch_color_BS.tolist() == [[2] * 4, [5] * 4]
    assert batch.patch_kind_BS.dtype == torch.int64


def test_pictures_beside_scenes_have_unknown_labels(coder):
    sources = {"scenes": Labelled(9), "numbers": Numbers(9)}
    tasks = {"labelled": Say(), "say": Say()}
    stage = stage_of({"labelled": "scenes", "say": "numbers"})
    preprocess = PreprocessConfig(image_size=SIZE)
    maker = SampleMaker(
        stage=stage, tasks=tasks, sources=sources, coder=coder, preprocess=preprocess, seed=7
    )
    batch = Collate(maker)(drawn(("say", 4), ("labelled", 2), ("say", 1)))
    assert batch.patch_color_BS.tolist() == [[-1] * 4, [2] * 4, [-1] * 4]
    assert batch.patch_kind_BS.tolist() == [[-1] * 4, [0, 1, 2, 3], [-1] * 4]
    assert batch.patch_color_BS.dtype == torch.int64


class Asks:
    """Its texts, as given."""

    needs_other_caption, terms = False, {"": 1.0}

    def __init__(self, *texts):
        self.given = list(texts)

    def texts(self, record, draw, count):
        return self.given


def said(prompt, **weights):
    targets = tuple(Answer(text=text, weight=weight) for text, weight in weights.items())
    return Text(prompt=prompt, targets=targets)


def test_a_target_that_cannot_be_used_leaves_the_other_right_answers(collate, coder):
    asks = Asks(
        said("answer: 1", red=0.3, zebra=0.4, blue=0.2, okapi=0.1),
        said("answer: 2", zebra=1.0),
        said("answer: 3", yes=1.0),
    )
    batch = collate(Numbers(40), {"say": asks})(drawn(("say", 5), ("say", 6)))
    assert batch.keys == ("number:5", "number:6")
    assert batch.num_bad == {"say": 0} and batch.bad == ()
    assert [coder.decode(row.tolist()) for row in batch.text_QL] == ["answer : 1", "answer : 3"] * 2
    assert [coder.decode(row.tolist()) for row in batch.target_RA] == ["red", "blue", "yes"] * 2
    assert batch.weight_R.tolist() == pytest.approx([0.6, 0.4, 1.0] * 2)
    assert batch.text_index_R.tolist() == [0, 0, 1, 2, 2, 3]
    assert batch.num_unused == {"say": 6}
    assert len(batch.unused) == 3
    for line, word in zip(batch.unused, ("zebra", "okapi", "zebra"), strict=True):
        assert line.startswith("say: number:5: the target ") and f"'{word}'" in line


def test_a_record_without_any_text_left_is_bad(collate):
    asks = Asks(said("answer: 1", zebra=0.5, okapi=0.5), said("answer: 2", zebra=1.0))
    batch = collate(Numbers(40), {"say": asks})(drawn(("say", 5)))
    assert batch.num_bad == {"say": 1} and batch.num_unused == {"say": 0}
    assert "number:5" in batch.bad[0] and "'zebra'" in batch.bad[0]


def test_terms_are_those_of_all_tasks_in_order():
    assert term_names(TASKS) == ("say", "other/half", "other/whole")
