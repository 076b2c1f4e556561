"""PointNet: "Deep Learning on Point Sets for 3D Classification", Qi et al. 2016, arXiv:1612.00593."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def shared(*widths: int) -> nn.Sequential:
    """Return perceptron layers that treat every point alike: 1x1 convolutions with BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for before, width in pairwise(widths):
        layers += [nn.Conv1d(before, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-3].weight, nonlinearity="relu")
    return nn.Sequential(*layers)


class AlignmentNet(nn.Module):
    """Predicts a matrix that turns the point set; close to the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.features = shared(3, 32, 64)
        self.matrix = nn.Linear(64, 9)
        nn.init.normal_(self.matrix.weight, std=0.02)

    def forward(self, points: Tensor) -> Tensor:
        """Map points `[batch, 3, points]` to matrices `[batch, 3, 3]`."""
        matrix = self.matrix(self.features(points).amax(dim=2)).view(-1, 3, 3)
        return matrix + torch.eye(3, dtype=points.dtype, device=points.device)


class PointNet(nn.Module):
    """Align, describe each point, keep each feature's maximum, classify: any number of points in any order."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.align = AlignmentNet()
        self.features = shared(3, 32, 64, 128)
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, classes))

    def forward(self, points: Tensor) -> Tensor:
        """Map points `[batch, points, 3]` to class scores `[batch, classes]`."""
        aligned = torch.bmm(points, self.align(points.transpose(1, 2)))
        return self.head(self.features(aligned.transpose(1, 2)).amax(dim=2))
