"""DLRM: "Deep Learning Recommendation Model for Personalization [...]", Naumov et al. 2019, arXiv:1906.00091."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DLRM(nn.Module):
    """Dense features through a perceptron, sparse ones through tables, all pairs of them compared by dot product."""

    def __init__(self, dense: int = 13, tables: int = 4, rows: int = 100, width: int = 16) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(dense, 32), nn.ReLU(), nn.Linear(32, width), nn.ReLU())
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(tables))
        pairs = torch.tril_indices(tables + 1, tables + 1, offset=-1)
        self.register_buffer("first", pairs[0])
        self.register_buffer("second", pairs[1])
        self.top = nn.Sequential(nn.Linear(width + pairs.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, dense: Tensor, items: Tensor) -> Tensor:
        """Map numbers `[batch, dense]` and bags of row ids `[batch, tables, bag]` to a click chance `[batch]`."""
        bottom = self.bottom(dense)
        bags = [table(items[:, index]).sum(dim=1) for index, table in enumerate(self.tables)]
        vectors = torch.stack([bottom, *bags], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))[:, self.first, self.second]
        return torch.sigmoid(self.top(torch.cat([bottom, 0.1 * products], dim=1)))[:, 0]
