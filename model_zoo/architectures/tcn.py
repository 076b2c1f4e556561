"""Temporal convolutional network: "An Empirical Evaluation of Generic Convolutional [...]", Bai et al. 2018.

arXiv:1803.01271.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm


class CausalConv(nn.Module):
    """A dilated convolution with weight normalisation that never looks ahead."""

    def __init__(self, in_channels: int, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.padding = (kernel - 1) * dilation
        self.conv = weight_norm(nn.Conv1d(in_channels, channels, kernel, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, time]` to `[batch, channels, time]`."""
        return self.conv(functional.pad(x, (self.padding, 0)))


class TemporalBlock(nn.Module):
    """Two causal convolutions beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            CausalConv(in_channels, channels, kernel, dilation),
            nn.ReLU(),
            nn.Dropout(0.1),
            CausalConv(channels, channels, kernel, dilation),
            nn.ReLU(),
            nn.Dropout(0.1),
        )
        self.shortcut = nn.Identity() if in_channels == channels else nn.Conv1d(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, in_channels, time]` to `[batch, channels, time]`."""
        return functional.relu(self.layers(x) + self.shortcut(x))


class TCN(nn.Module):
    """Three blocks whose dilation doubles, and a forecast for every step."""

    def __init__(self, in_channels: int = 4, channels: int = 24, outputs: int = 2, kernel: int = 3) -> None:
        super().__init__()
        widths = [in_channels, channels, channels, channels]
        self.blocks = nn.Sequential(*(TemporalBlock(widths[i], widths[i + 1], kernel, dilation=2**i) for i in range(3)))
        self.head = nn.Conv1d(channels, outputs, 1)

    def forward(self, signal: Tensor) -> Tensor:
        """Map a signal `[batch, in_channels, time]` to a forecast `[batch, outputs, time]`."""
        return self.head(self.blocks(signal))
