"""ESPCN: "Real-Time Single Image and Video Super-Resolution", Shi et al. 2016, arXiv:1609.05158."""

from __future__ import annotations

from torch import Tensor, nn


class ESPCN(nn.Module):
    """Three convolutions at the small size, then a rearrangement of channels into pixels."""

    def __init__(self, factor: int = 3, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(width // 2, factor**2, 3, padding=1),
            nn.PixelShuffle(factor),
        )

    def forward(self, luma: Tensor) -> Tensor:
        """Map brightness `[batch, 1, h, w]` to `[batch, 1, factor * h, factor * w]`."""
        return self.layers(luma)
