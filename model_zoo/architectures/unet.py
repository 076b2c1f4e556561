"""U-Net: "Convolutional Networks for Biomedical Image Segmentation", Ronneberger et al. 2015, arXiv:1505.04597."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def double_conv(in_channels: int, channels: int) -> nn.Sequential:
    """Return two 3x3 convolutions with BatchNorm and ReLU; padded, so that the picture keeps its size."""
    layers: list[nn.Module] = []
    for width in (in_channels, channels):
        layers += [nn.Conv2d(width, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Contracting path, bottleneck, expanding path; each level hands its features across by concatenation."""

    def __init__(self, in_channels: int = 3, classes: int = 2, base_width: int = 16, depth: int = 4) -> None:
        super().__init__()
        widths = [base_width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            double_conv(before, width) for before, width in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, width, 2, stride=2) for below, width in upwards)
        self.merge = nn.ModuleList(double_conv(below, width) for below, width in upwards)
        self.head = nn.Conv2d(base_width, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.head:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Map `[batch, in_channels, h, w]`, h and w multiples of 2**depth, to scores `[batch, classes, h, w]`."""
        features = [self.down[0](image)]
        for level in self.down[1:]:
            features.append(level(self.pool(features[-1])))
        x = features.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([features.pop(), up(x)], dim=1))
        return self.head(x)
