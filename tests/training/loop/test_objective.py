"""The loss by its formula: beside a second implementation, text by text and without padding."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F
from toy_run import stage, toy_config

from tokenfuse_training.data.batch import Batch
from tokenfuse_training.data.collate import normalise
from tokenfuse_training.loop.micro_batches import split_batch
from tokenfuse_training.objective import Objective, term_divisors
from tokenfuse_training.start import begin

# Picture 1 has no text, text 2 has three right answers, one of them of another term.
TEXTS = ([3, 9, 40, 1], [5, 1], [3, 50, 51, 52, 53, 1], [7, 30, 1])
PICTURE = (0, 0, 2, 3)
TARGETS = (
    (0, [20, 1], 1.0, 0),
    (1, [21, 22, 23, 1], 1.0, 1),
    (2, [24, 1], 0.5, 0),
    (2, [25, 26, 1], 0.3, 0),
    (2, [27, 28, 29, 30, 1], 0.2, 1),
    (3, [31, 1], 0.25, 1),
)
TERMS = ("ask/first", "ask/second")
LAMBDAS = torch.tensor([0.7, 0.2, 0.4, 0.3], dtype=torch.float64)
STAGE = stage(patch_weight=0.4, word_order_weight=0.3)


def padded(rows):
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def hand_made() -> Batch:
    draw = torch.Generator().manual_seed(1)
    return Batch(
        image_u8_BHW3=torch.randint(0, 256, (4, 16, 16, 3), generator=draw, dtype=torch.uint8),
        image_index_Q=torch.tensor(PICTURE),
        text_QL=padded(TEXTS),
        target_RA=padded([ids for _, ids, _, _ in TARGETS]),
        text_index_R=torch.tensor([text for text, _, _, _ in TARGETS]),
        weight_R=torch.tensor([weight for _, _, weight, _ in TARGETS]),
        term_R=torch.tensor([term for _, _, _, term in TARGETS]),
        terms=TERMS,
        kind_Q=torch.tensor([0, 1, 0, 1]),
        kinds=("ask/color", "ask/shape"),
        keys=("a", "b", "c", "d"),
        task_B=torch.zeros(4, dtype=torch.int64),
        num_bad={},
        patch_color_BS=torch.randint(0, 6, (4, 16), generator=draw),
        patch_kind_BS=torch.randint(0, 15, (4, 16), generator=draw)
        * torch.randint(0, 2, (4, 16), generator=draw),
    )


@pytest.fixture(scope="module")
def objective() -> Objective:
    beginning = begin(toy_config())
    torch.manual_seed(2)
    return Objective(beginning.model, beginning.preprocess).double()


def by_hand(objective: Objective, batch: Batch, budget: int):
    """The formula: sums and divisors of each term in plain loops; float64."""
    model = objective.model
    sums, divisors = [0.0] * 4, [0.0] * 4
    image = normalise(batch.image_u8_BHW3, begin(toy_config()).preprocess).double()
    for text, ids, weight, term in TARGETS:
        f = model.encode_image(image[PICTURE[text]][None], budget)
        fused, mask = model.fuse(f, torch.tensor([TEXTS[text]]), budget)
        logits = model.decode(torch.tensor([[0, *ids[:-1]]]), fused, mask)[0]
        log_p = logits.log_softmax(-1)
        # The batch holds weights as float32.
        weight = float(torch.tensor(weight))
        sums[term] = sums[term] - weight * sum(log_p[a, token] for a, token in enumerate(ids))
        divisors[term] += weight * len(ids)
    for picture in range(4):
        x = model.encode_patches(image[picture][None])[0]
        for s in range(16):
            color, kind = batch.patch_color_BS[picture, s], batch.patch_kind_BS[picture, s]
            weight = 1.0 if kind > 0 else 0.25
            loss = F.cross_entropy(objective.heads.color(x[s]), color)
            loss = loss + F.cross_entropy(objective.heads.kind(x[s]), kind)
            sums[2], divisors[2] = sums[2] + weight * loss, divisors[2] + weight
    for ids in TEXTS:
        encoded = model.encode_text(torch.tensor([ids]))[0]
        for offset, head in zip((1, 2), objective.word_order.before, strict=True):
            for place in range(offset, len(ids)):
                before = torch.tensor(ids[place - offset])
                sums[3] = sums[3] + F.cross_entropy(head(encoded[place]), before)
                divisors[3] += 1
    return sums, divisors


def gradients(objective: Objective) -> dict[str, torch.Tensor]:
    found = {n: p.grad for n, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("budget", [2, 4])
def test_the_loss_is_the_formula(objective, budget):
    batch = hand_made()
    sums, divisors = by_hand(objective, batch, budget)
    total = sum(
        weight * part / divisor
        for weight, part, divisor in zip(LAMBDAS.tolist(), sums, divisors, strict=True)
    )
    total.backward()
    expected = gradients(objective)
    given = term_divisors(batch, STAGE)
    torch.testing.assert_close(given, torch.tensor(divisors, dtype=torch.float64))
    losses = objective(batch, budget, LAMBDAS, given, STAGE)
    losses.total.backward()
    found = gradients(objective)
    torch.testing.assert_close(losses.total, total, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(losses.sum_J, torch.stack(sums).detach(), rtol=1e-10, atol=1e-10)
    assert found.keys() == expected.keys() == dict(objective.named_parameters()).keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-8, atol=1e-10, msg=name)


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_micro_batches_add_up_to_the_batch(objective, parts):
    # Six parts of four pictures: some are empty, and one picture has no text.
    batch = hand_made()
    divisors = term_divisors(batch, STAGE)
    whole = objective(batch, 4, LAMBDAS, divisors, STAGE)
    whole.total.backward()
    expected = gradients(objective)
    split = split_batch(batch, parts)
    assert len(split) == parts
    assert [key for part in split for key in part.keys] == list(batch.keys)
    torch.testing.assert_close(sum(term_divisors(part, STAGE) for part in split), divisors)
    pieces = [objective(part, 4, LAMBDAS, divisors, STAGE) for part in split]
    for piece in pieces:
        piece.total.backward()
    for name, gradient in gradients(objective).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-10, msg=name)
    for index in range(4):
        total = sum(piece[index] for piece in pieces)
        torch.testing.assert_close(total, whole[index], rtol=1e-10, atol=1e-10)


def test_one_of_several_right_answers_is_right(objective):
    # The decoder is made to say what it is told to: the bias of one row of its head.
    batch = hand_made()
    with torch.no_grad():
        logits = objective(batch, 4, LAMBDAS, term_divisors(batch, STAGE), STAGE)
        assert logits.seen_K[:2].tolist() == [2, 2]
        said = objective.model.generate(
            objective.model.encode_image(
                normalise(batch.image_u8_BHW3, begin(toy_config()).preprocess).double()
            )[batch.image_index_Q],
            batch.text_QL,
            max_tokens=1,
        )
        # Text 2: its second right answer is what the model says; its others are not.
        target_RA = torch.where(batch.target_RA == 0, 0, 33)
        target_RA[3] = 0
        target_RA[3, 0] = said[2, 0]
        told = objective(
            dataclasses.replace(batch, target_RA=target_RA),
            4,
            LAMBDAS,
            term_divisors(batch, STAGE),
            STAGE,
        )
    assert told.right_K[:2].tolist() == [1, 0]


def test_a_picture_of_unknown_labels_teaches_the_heads_nothing(objective):
    batch = hand_made()
    colors, kinds = batch.patch_color_BS.clone(), batch.patch_kind_BS.clone()
    colors[1], kinds[1] = -1, -1
    mixed = dataclasses.replace(batch, patch_color_BS=colors, patch_kind_BS=kinds)
    divisors = term_divisors(batch, STAGE)
    with torch.no_grad():
        every = objective(batch, 4, LAMBDAS, divisors, STAGE)
        others = objective(mixed, 4, LAMBDAS, divisors, STAGE)
        alone = objective(split_batch(batch, 4)[1], 4, LAMBDAS, divisors, STAGE)
    left = every.sum_J - alone.sum_J
    torch.testing.assert_close(others.sum_J[2], left[2], rtol=1e-10, atol=1e-10)
    assert others.seen_K[2] == every.seen_K[2] - alone.seen_K[2]
    part = term_divisors(split_batch(batch, 4)[1], STAGE)
    assert term_divisors(mixed, STAGE)[2] == divisors[2] - part[2]


def test_what_no_target_needs_is_not_computed(objective):
    # A stage of patch labels alone: text has no gradient, so it does not decay either.
    batch = hand_made()
    only = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    objective(batch, 4, only, term_divisors(batch, STAGE), STAGE).total.backward()
    assert {name.split(".")[1] for name in gradients(objective)} == {"vision", "color", "kind"}


def test_a_rank_that_has_nothing_left_runs_the_same_modules(objective):
    batch = hand_made()
    divisors = term_divisors(batch, STAGE)
    empty = split_batch(batch, 6)[0]
    assert not empty.keys
    losses = objective(empty, 4, LAMBDAS, divisors, STAGE)
    losses.total.backward()
    found = gradients(objective)
    assert found.keys() == dict(objective.named_parameters()).keys()
    assert losses.total.item() == 0
    assert not losses.seen_K[:3].any()
    assert all(not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("part", ["image", "text"])
def test_frozen_parts_have_no_gradient(objective, part):
    settings = stage(freeze=(part,), word_order_weight=0.3)
    frozen = objective.freeze(settings.freeze)
    names = {id(p) for module in frozen for p in module.parameters()}
    batch = hand_made()
    objective(batch, 4, LAMBDAS, term_divisors(batch, settings), settings).total.backward()
    for name, parameter in objective.named_parameters():
        still = id(parameter) in names
        assert still == name.startswith(
            ("model.vision.", "model.image_projection.", "model.fusion.image_resampler.")
            if part == "image"
            else ("model.text.", "model.embedding.")
        )
        assert (parameter.grad is None) == (still or name.startswith("heads.")), name
    objective.freeze(())
    gradients(objective)
