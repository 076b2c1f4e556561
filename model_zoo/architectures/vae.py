"""Variational autoencoder: "Auto-Encoding Variational Bayes", Kingma and Welling 2013, arXiv:1312.6114."""

from __future__ import annotations

from torch import Tensor, nn


class VAEDecoder(nn.Module):
    """The half that is shipped: from a latent vector to a grey picture of 32x32 pixels."""

    def __init__(self, latent: int = 16, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.expand = nn.Linear(latent, 4 * width * 16)
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
        )
        for module in self.layers:
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, latent: Tensor) -> Tensor:
        """Map a latent vector `[batch, latent]` to pixels in 0..1 `[batch, 1, 32, 32]`."""
        return self.layers(self.expand(latent).view(-1, 4 * self.width, 4, 4)).sigmoid()
