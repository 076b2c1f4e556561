"""DCGAN: "Unsupervised Representation Learning [...]", Radford et al. 2015, arXiv:1511.06434."""

from __future__ import annotations

from torch import Tensor, nn


class DCGANGenerator(nn.Module):
    """Five transposed convolutions from noise to a colour picture of 64x64 pixels."""

    def __init__(self, latent: int = 32, width: int = 16) -> None:
        super().__init__()
        widths = (latent, 8 * width, 4 * width, 2 * width, width)
        layers: list[nn.Module] = []
        for index in range(4):
            stride, padding = (1, 0) if index == 0 else (2, 1)
            conv = nn.ConvTranspose2d(widths[index], widths[index + 1], 4, stride, padding, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_in" if index == 0 else "fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(widths[index + 1]), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise `[batch, latent]` to a picture in -1..1 `[batch, 3, 64, 64]`."""
        return self.layers(noise[:, :, None, None])
