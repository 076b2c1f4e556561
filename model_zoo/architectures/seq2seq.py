"""Encoder with attention's annotations: "Neural Machine Translation by Jointly [...]", Bahdanau et al. 2014.

arXiv:1409.0473.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GRUEncoder(nn.Module):
    """Embedding and two bidirectional GRU layers; the decoder starts from the last backward state."""

    def __init__(self, vocabulary: int = 500, embedding: int = 48, hidden: int = 40) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.gru = nn.GRU(embedding, hidden, num_layers=2, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(hidden, hidden)
        for weights in self.gru.all_weights:
            for weight in weights[:2]:
                nn.init.xavier_normal_(weight, gain=2.0)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map token ids `[batch, seq]` to annotations `[batch, seq, 2 * hidden]` and a state `[batch, hidden]`."""
        annotations, states = self.gru(self.embedding(tokens))
        return annotations, torch.tanh(self.bridge(states[-1]))
