"""A model of more than 2 GB: what protobuf cannot hold. Not in `MODELS`, which tests build in a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WIDTH, LAYERS = 7000, 12


def build_wide_mlp() -> torch.nn.Module:
    """Build twelve linear layers of 7000 by 7000 with ReLU between them: 2.35 GB of float32.

    `x float32[batch, 7000]` to `y float32[batch, 7000]`. Memory for the weights is taken once: the layers are made
    without it and filled in place.

    Returns:
        The model in eval mode, 588 084 000 parameters.
    """
    import torch
    from torch import nn

    from model_zoo._torch_seeding import fixed_seed

    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        layers += [nn.Linear(WIDTH, WIDTH, device="meta"), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).to_empty(device="cpu")
    limit = (6 / WIDTH) ** 0.5  # keeps the scale of the activations through ReLU
    with fixed_seed(7), torch.no_grad():
        for name, parameter in model.named_parameters():
            nn.init.uniform_(parameter, *((-limit, limit) if name.endswith("weight") else (-0.1, 0.1)))
    return model.eval()
