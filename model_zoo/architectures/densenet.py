"""DenseNet-BC: "Densely Connected Convolutional Networks", Huang et al. 2016, arXiv:1608.06993."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def norm_relu_conv(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """Return BatchNorm, ReLU and a convolution, in the order of the paper: no BatchNorm can be folded backwards."""
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU(), conv)


class DenseLayer(nn.Module):
    """A bottleneck of 1x1 and a 3x3 convolution whose output is put beside the input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(norm_relu_conv(in_channels, 4 * growth, 1), norm_relu_conv(4 * growth, growth, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, h, w]` to `[batch, in_channels + growth, h, w]`."""
        return torch.cat([x, self.layers(x)], dim=1)


class DenseNet(nn.Module):
    """Three dense blocks; between them the channels and the picture are halved."""

    def __init__(self, growth: int = 12, depths: tuple[int, ...] = (3, 3, 3), classes: int = 10) -> None:
        super().__init__()
        width = 2 * growth
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False)]
        for index, depth in enumerate(depths):
            for _ in range(depth):
                layers.append(DenseLayer(width, growth))
                width += growth
            if index + 1 < len(depths):
                layers += [norm_relu_conv(width, width // 2, 1), nn.AvgPool2d(2)]
                width //= 2
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Map a picture `[batch, 3, h, w]` to class scores `[batch, classes]`."""
        return self.classifier(self.features(image).mean(dim=(2, 3)))
