"""WaveNet: "A Generative Model for Raw Audio", van den Oord et al. 2016, arXiv:1609.03499."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GatedLayer(nn.Module):
    """A causal dilated convolution behind a gate; one part goes on, the other to the output."""

    def __init__(self, channels: int, skip: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(channels, 2 * channels, 2, dilation=dilation)
        self.residual = nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, skip, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map `[batch, channels, time]` to the same shape and `[batch, skip, time]`."""
        filtered, gate = self.conv(functional.pad(x, (self.dilation, 0))).chunk(2, dim=1)
        gated = torch.tanh(filtered) * torch.sigmoid(gate)
        return x + self.residual(gated), self.skip(gated)


class WaveNet(nn.Module):
    """Samples of 8 bits in, the distribution of the next sample out, for every place at once."""

    def __init__(self, levels: int = 256, channels: int = 24, skip: int = 48, depth: int = 6) -> None:
        super().__init__()
        self.embedding = nn.Embedding(levels, channels)
        self.layers = nn.ModuleList(GatedLayer(channels, skip, 2**index) for index in range(depth))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, levels, 1))

    def forward(self, samples: Tensor) -> Tensor:
        """Map quantised samples `[batch, time]` to logits `[batch, levels, time]`."""
        x = self.embedding(samples).transpose(1, 2)
        skips = []
        for layer in self.layers:
            x, skip = layer(x)
            skips.append(skip)
        return self.head(torch.stack(skips).sum(0))
