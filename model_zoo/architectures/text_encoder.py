"""Transformer encoder: "Attention Is All You Need", Vaswani et al. 2017, arXiv:1706.03762, from torch's own layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(length: int, width: int) -> Tensor:
    """Return the fixed positions of section 3.5 of the paper, `[length, width]`."""
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class TextEncoder(nn.Module):
    """`nn.TransformerEncoder` with a padding mask, and the mean over what is not padding."""

    def __init__(
        self, vocabulary: int = 500, width: int = 64, heads: int = 4, layers: int = 2, longest: int = 64
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.register_buffer("positions", sinusoids(longest, width))
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, layers)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map token ids `[batch, seq]` and their 0/1 mask to one vector for each text `[batch, width]`."""
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        x = self.encoder(x, src_key_padding_mask=mask == 0)
        weights = mask[..., None].to(x.dtype)
        return (x * weights).sum(1) / weights.sum(1).clamp(min=1)
