"""ResNet-18: "Deep Residual Learning for Image Recognition", He et al. 2015, arXiv:1512.03385, table 1."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, h, w]` to `[batch, channels, h / stride, w / stride]`."""
        residual = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(residual + self.shortcut(x))


class ResNet18(nn.Module):
    """Stem, four stages of two basic blocks, global average pooling, linear classifier."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        blocks: list[BasicBlock] = []
        for before, width in pairwise((64, 64, 128, 256, 512)):
            blocks += [
                BasicBlock(before, width, stride=1 if width == before else 2),
                BasicBlock(width, width, stride=1),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(512, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        for block in blocks:
            # Nothing normalises the sum of residuals in an untrained net: keep each small or the logits reach 100.
            nn.init.normal_(block.conv2.weight, std=0.3 * block.conv2.weight[0].numel() ** -0.5)

    def forward(self, image: Tensor) -> Tensor:
        """Map a picture `[batch, 3, h, w]` to class scores `[batch, classes]`."""
        return self.classifier(torch.flatten(self.pool(self.blocks(self.stem(image))), 1))
