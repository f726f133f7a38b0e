"""The whole model: image -> tokens -> merge -> fuse -> answer.

Shapes: B pictures, Q questions (each of one picture), S image tokens, L text
tokens, N latents, A answer tokens, C / T / D image, text and fusion widths.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tokenfuse_sdk.config import ModelConfig
from tokenfuse_training.model.baselines import make_fusion
from tokenfuse_training.model.layers import init_linear
from tokenfuse_training.model.t5 import AnswerDecoder, T5Attention, TextEncoder
from tokenfuse_training.model.vision import VisionEncoder

__all__ = ["JointModel", "model_from_weights"]


class JointModel(nn.Module):
    """Image-language model of the paper, or one of its baselines (`config.fusion.kind`).

    The embedding is shared by text encoder and decoder, as in T5.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        text, fusion = config.text, config.fusion
        self.vision = VisionEncoder(config.vision)
        self.embedding = nn.Embedding(text.vocab_size, text.width)
        self.text = TextEncoder(text)
        self.image_projection = nn.Linear(config.vision.width, fusion.width)
        self.text_projection = nn.Linear(text.width, fusion.width)
        self.fusion = make_fusion(fusion)
        self.fused_projection = nn.Linear(fusion.width, text.width)
        self.decoder = AnswerDecoder(text, config.decoder)
        self._init_weights()

    def _init_weights(self) -> None:
        self.apply(init_linear)
        for module in self.modules():
            if isinstance(module, T5Attention):
                module.init()
        for stack in (self.text, self.decoder):
            nn.init.normal_(stack.relative_bias.weight, std=0.1)
        nn.init.normal_(self.embedding.weight, std=1.0)

    def check_budget(self, token_budget: int | None) -> int:
        """The number of latents for a budget; None is the full budget.

        Raises:
            TokenBudgetError: not one of the config's budgets.
        """
        return self.config.fusion.check_budget(token_budget)

    def encode_patches(self, image_BHW3: Tensor) -> Tensor:
        """Normalised pictures to `x_BSC`, the image encoder's output."""
        return self.vision(image_BHW3)

    def encode_image(self, image_BHW3: Tensor, token_budget: int | None = None) -> Tensor:
        """Normalised pictures (B, H, W, 3) to `f_BND`, what is kept of a picture."""
        return self.merge_image(self.encode_patches(image_BHW3), token_budget)

    def merge_image(self, x_BSC: Tensor, token_budget: int | None = None) -> Tensor:
        """[P eq. 1, 2] `v = W1 x`, then its resampling to `f_BND`."""
        num_latents = self.check_budget(token_budget)
        return self.fusion.encode_image(self.image_projection(x_BSC), num_latents)

    def fuse(
        self, f_QND: Tensor, text_QL: Tensor, token_budget: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Image tokens and question ids (pad 0) to the fused tokens the decoder reads."""
        return self.fuse_encoded(f_QND, self.encode_text(text_QL), text_QL, token_budget)

    def encode_text(self, text_QL: Tensor) -> Tensor:
        """Question ids (pad 0) to `text_QLT`, the text encoder's output."""
        return self.text(self.embedding(text_QL), text_QL != self.config.pad_id)

    def fuse_encoded(
        self, f_QND: Tensor, encoded_QLT: Tensor, text_QL: Tensor, token_budget: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """`fuse` with the text encoded already."""
        num_latents = self.check_budget(token_budget)
        mask_QL = text_QL != self.config.pad_id
        fused, mask = self.fusion(f_QND, self.text_projection(encoded_QLT), mask_QL, num_latents)
        return self.fused_projection(fused), mask

    def decode(self, answer_QA: Tensor, fused: Tensor, mask: Tensor | None) -> Tensor:
        """Teacher forcing: ids that begin with the start id, to logits (Q, A, vocab)."""
        return self.decoder(self.embedding(answer_QA), fused, mask)

    def forward(
        self,
        image_BHW3: Tensor,
        text_QL: Tensor,
        answer_QA: Tensor,
        image_index_Q: Tensor | None = None,
        token_budget: int | None = None,
    ) -> Tensor:
        """Logits (Q, A, vocab); `image_index_Q` says which picture each question is of."""
        f = self.encode_image(image_BHW3, token_budget)
        if image_index_Q is not None:
            f = f[image_index_Q]
        fused, mask = self.fuse(f, text_QL, token_budget)
        return self.decode(answer_QA, fused, mask)

    @torch.no_grad()
    def generate(
        self, f_QND: Tensor, text_QL: Tensor, token_budget: int | None = None, max_tokens: int = 0
    ) -> Tensor:
        """Greedy answers, (Q, <= max_tokens) ids without the start id, 0 after the end."""
        fused, mask = self.fuse(f_QND, text_QL, token_budget)
        return self.write(fused, mask, max_tokens)

    @torch.no_grad()
    def write(self, fused: Tensor, mask: Tensor | None, max_tokens: int = 0) -> Tensor:
        """`generate`, of tokens that are fused already."""
        limit = max_tokens or self.config.decoder.max_tokens
        start = self.config.start_id
        ids = torch.full((fused.shape[0], 1), start, dtype=torch.long, device=fused.device)
        done = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
        for _ in range(limit):
            best = self.decode(ids, fused, mask)[:, -1].argmax(-1).masked_fill(done, 0)
            ids = torch.cat([ids, best[:, None]], dim=1)
            done |= best == self.config.eos_id
            if bool(done.all()):
                break
        return ids[:, 1:]


def model_from_weights(config: ModelConfig, weights: Mapping[str, np.ndarray]) -> JointModel:
    """The float32 reference of stored weights: what every runtime is compared with."""
    model = JointModel(config)
    model.load_state_dict(
        {name: torch.from_numpy(array.astype(np.float32)) for name, array in weights.items()}
    )
    return model.eval()
