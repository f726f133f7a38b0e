"""Every fusion kind behind one config: it learns, and its prefix of latents works."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from tokenfuse_sdk.config import FUSION_KINDS
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.model import JointModel


def small(kind: str):
    nano = named_config("nano")
    return dataclasses.replace(
        nano,
        vision=dataclasses.replace(nano.vision, image_size=16, num_layers=1, stem_widths=(8,)),
        text=dataclasses.replace(nano.text, vocab_size=12, num_layers=1),
        fusion=dataclasses.replace(
            nano.fusion, kind=kind, num_latents=4, token_budgets=(2, 4), num_layers=2
        ),
        decoder=dataclasses.replace(nano.decoder, num_layers=1),
    )


@pytest.mark.parametrize("kind", FUSION_KINDS)
def test_it_learns_what_needs_both_picture_and_text(kind):
    """Answer = colour of the half that the text names: neither alone tells it."""
    # With 1 every kind is there in 25 to 65 steps; others take up to 120.
    torch.manual_seed(1)
    model = JointModel(small(kind)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rng = torch.Generator().manual_seed(1)
    right = 0.0
    for step in range(200):
        halves = torch.randint(0, 2, (64, 2), generator=rng)
        side = torch.randint(0, 2, (64,), generator=rng)
        image = torch.zeros(64, 16, 16, 3)
        image[:, :, :8] = (2.0 * halves[:, 0] - 1)[:, None, None, None]
        image[:, :, 8:] = (2.0 * halves[:, 1] - 1)[:, None, None, None]
        text = torch.stack([3 + side, torch.ones_like(side)], dim=1)
        answer = 5 + halves[torch.arange(64), side]
        logits = model(image, text, torch.zeros(64, 1, dtype=torch.long))[:, 0]
        loss = F.cross_entropy(logits, answer)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            unused = [n for n, p in model.named_parameters() if p.grad is None]
            # The position table of a lone decoder token is still looked up.
            assert not unused, unused
        optimizer.step()
        right = (logits.argmax(-1) == answer).float().mean().item()
        if step > 20 and loss.item() < 0.05:
            break
    assert right > 0.9, f"{kind}: {right:.2f} after {step} steps"


@pytest.mark.parametrize("kind", FUSION_KINDS)
def test_the_picture_is_encoded_once_for_every_question(kind):
    torch.manual_seed(0)
    model = JointModel(small(kind)).eval()
    images = torch.randn(2, 16, 16, 3)
    texts = torch.tensor([[3, 4, 1], [4, 1, 0], [3, 1, 0]])
    index = torch.tensor([1, 0, 1])
    answers = torch.zeros(3, 1, dtype=torch.long)
    with torch.no_grad():
        for budget in (2, 4):
            together = model(images, texts, answers, index, budget)
            for q in range(3):
                length = int((texts[q] != 0).sum())
                alone = model(
                    images[index[q]][None], texts[q, :length][None], answers[:1], None, budget
                )
                torch.testing.assert_close(together[q], alone[0], atol=2e-5, rtol=1e-4)
