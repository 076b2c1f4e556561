"""Tabular perceptron: "Entity Embeddings of Categorical Variables", Guo and Berkhahn 2016, arXiv:1604.06737."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TabularMLP(nn.Module):
    """One embedding per categorical column beside the numeric ones, then two hidden layers."""

    def __init__(self, numeric: int = 12, cardinalities: tuple[int, ...] = (7, 24, 31), classes: int = 3) -> None:
        super().__init__()
        widths = [min(8, (size + 1) // 2) for size in cardinalities]
        self.embeddings = nn.ModuleList(nn.Embedding(*pair) for pair in zip(cardinalities, widths, strict=True))
        self.layers = nn.Sequential(
            nn.Linear(numeric + sum(widths), 64),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, classes),
        )

    def forward(self, numbers: Tensor, weekday: Tensor, hour: Tensor, day: Tensor) -> Tensor:
        """Map numbers `[batch, numeric]` and three columns of categories `[batch]` to scores `[batch, classes]`."""
        columns = zip(self.embeddings, (weekday, hour, day), strict=True)
        return self.layers(torch.cat([numbers, *(embed(column) for embed, column in columns)], dim=1))
