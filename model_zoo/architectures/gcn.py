"""GCN: "Semi-Supervised Classification with Graph Convolutional Networks", Kipf and Welling 2016, arXiv:1609.02907."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GraphConv(nn.Module):
    """Mix every node with its neighbours, each edge weighed by the degrees of its ends."""

    def __init__(self, in_features: int, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, features)

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Map node features `[nodes, in_features]` to `[nodes, features]` along the edges `source -> target`."""
        x = self.linear(x)
        ones = torch.ones_like(target, dtype=x.dtype)
        degree = torch.ones_like(x[:, 0]).scatter_add(0, target, ones)  # every node is a neighbour of its own
        norm = degree.rsqrt()
        messages = x[source] * (norm[source] * norm[target])[:, None]
        own = x * (norm * norm)[:, None]
        return own.scatter_add(0, target[:, None].expand_as(messages), messages)


class GCN(nn.Module):
    """Two graph convolutions; a class for every node."""

    def __init__(self, in_features: int = 16, hidden: int = 32, classes: int = 7) -> None:
        super().__init__()
        self.first = GraphConv(in_features, hidden)
        self.second = GraphConv(hidden, classes)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """Map features `[nodes, in_features]` and edges `[2, edges]` to class scores `[nodes, classes]`."""
        source, target = edges[0], edges[1]
        return self.second(functional.relu(self.first(features, source, target)), source, target)
