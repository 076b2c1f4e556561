"""Pictures made by PyTorch models, written from their papers and drawn from fixed seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def build_vae_decoder() -> torch.nn.Module:
    """Build the decoder of a variational autoencoder (Kingma and Welling 2013, arXiv:1312.6114).

    `latent float32[batch, 16]` to `picture float32[batch, 1, 32, 32]`, in 0..1.

    Returns:
        The model in eval mode, 199 265 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.vae import VAEDecoder

    with fixed_seed(1312):
        return trained_like(VAEDecoder())


def build_dcgan() -> torch.nn.Module:
    """Build a DCGAN generator (Radford et al. 2015, arXiv:1511.06434), an eighth as wide as the paper's.

    `noise float32[batch, 32]` to `picture float32[batch, 3, 64, 64]`, in -1..1.

    Returns:
        The model in eval mode, 238 816 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.dcgan import DCGANGenerator

    with fixed_seed(1511):
        return trained_like(DCGANGenerator())


def build_espcn() -> torch.nn.Module:
    """Build a super-resolution network (Shi et al. 2016, arXiv:1609.05158) that makes pictures three times as large.

    `luma float32[batch, 1, h, w]` to `enlarged float32[batch, 1, 3 * h, 3 * w]`, any h and w.

    Returns:
        The model in eval mode, 6 761 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.espcn import ESPCN

    with fixed_seed(160):
        return trained_like(ESPCN())
