"""EfficientNet: "Rethinking Model Scaling for Convolutional Neural Networks", Tan and Le 2019, arXiv:1905.11946."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from model_zoo.architectures.mobilenet_v2 import conv_bn

#: Expansion, channels, kernel, stride of each block: the first five stages of B0, one block each.
BLOCKS = ((1, 16, 3, 1), (6, 24, 3, 2), (6, 40, 5, 2), (6, 80, 3, 2), (6, 112, 5, 1))


class SqueezeExcite(nn.Module):
    """Weigh the channels by what the whole picture holds."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, channels, h, w]` to the same shape."""
        weights = self.excite(functional.silu(self.squeeze(functional.adaptive_avg_pool2d(x, 1))))
        return x * weights.sigmoid()


class MBConv(nn.Module):
    """Expand, filter each channel, squeeze and excite, project; SiLU in between."""

    def __init__(self, in_channels: int, expansion: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        expand = [*conv_bn(in_channels, hidden, 1), nn.SiLU()] if expansion != 1 else []
        self.layers = nn.Sequential(
            *expand,
            *conv_bn(hidden, hidden, kernel, stride=stride, groups=hidden),
            nn.SiLU(),
            SqueezeExcite(hidden, max(1, in_channels // 4)),
            *conv_bn(hidden, channels, 1),
        )
        self.has_shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, h, w]` to `[batch, channels, h / stride, w / stride]`."""
        return x + self.layers(x) if self.has_shortcut else self.layers(x)


class EfficientNet(nn.Module):
    """A stem, five blocks, a 1x1 head, global average pooling, a linear classifier."""

    def __init__(self, classes: int = 100) -> None:
        super().__init__()
        layers: list[nn.Module] = [*conv_bn(3, 32, 3, stride=2), nn.SiLU()]
        width = 32
        for block in BLOCKS:
            layers.append(MBConv(width, *block))
            width = block[1]
        self.features = nn.Sequential(*layers, *conv_bn(width, 256, 1), nn.SiLU())
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(256, classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """Map a picture `[batch, 3, h, w]` to class scores `[batch, classes]`."""
        return self.classifier(functional.adaptive_avg_pool2d(self.features(image), 1).flatten(1))
