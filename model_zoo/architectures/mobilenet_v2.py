"""MobileNetV2: "Inverted Residuals and Linear Bottlenecks", Sandler et al. 2018, arXiv:1801.04381, table 2."""

from __future__ import annotations

from torch import Tensor, nn

#: Table 2 of the paper: expansion t, output channels c, repeats n, stride s of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_bn(in_channels: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps the picture's size but for its stride, and its BatchNorm."""
    conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class InvertedResidual(nn.Module):
    """Expand (1x1), filter each channel (3x3 depthwise), project to a narrow linear bottleneck (1x1)."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        expand = [*conv_bn(in_channels, hidden, 1), nn.ReLU6()] if expansion != 1 else []
        self.layers = nn.Sequential(
            *expand,
            *conv_bn(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.ReLU6(),
            *conv_bn(hidden, channels, 1),
        )
        self.has_shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, h, w]` to `[batch, channels, h / stride, w / stride]`."""
        return x + self.layers(x) if self.has_shortcut else self.layers(x)


class MobileNetV2(nn.Module):
    """Seventeen inverted residual blocks at width 1.0 between a 3x3 stem and a 1x1 head."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [*conv_bn(3, 32, 3, stride=2), nn.ReLU6()]
        width = 32
        for expansion, channels, repeats, first_stride in STAGES:
            for repeat in range(repeats):
                layers.append(InvertedResidual(width, channels, first_stride if repeat == 0 else 1, expansion))
                width = channels
        self.features = nn.Sequential(*layers, *conv_bn(width, 1280, 1), nn.ReLU6())
        self.classifier = nn.Linear(1280, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Bottlenecks are linear: only convolutions that read a ReLU6 need its gain.
                reads_bottleneck = module.kernel_size == (1, 1) and module.out_channels > module.in_channels
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if reads_bottleneck else "relu")

    def forward(self, image: Tensor) -> Tensor:
        """Map a picture `[batch, 3, h, w]` to class scores `[batch, classes]`."""
        return self.classifier(self.features(image).mean(dim=(2, 3)))
