"""Fixed seeds and trained-like statistics for the torch models of the zoo; imports torch only when called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@contextmanager
def fixed_seed(seed: int) -> Iterator[None]:
    """Draw from a fixed seed inside the block; the caller's own random state is as before when it ends."""
    import torch

    # The CPU generator alone: torch.manual_seed reseeds CUDA too, which fork_rng(devices=[]) would not restore.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def trained_like(model: torch.nn.Module) -> torch.nn.Module:
    """Replace the neutral values a fresh model starts with by draws such as training leaves behind.

    A fresh BatchNorm has mean 0, variance 1, scale 1 and shift 0, so a converter that folds it wrongly, or drops it,
    still looks right. The draws stay near those neutral values, so activations keep the range they were given at first.

    Args:
        model: Any module; changed in place.

    Returns:
        The same module, in eval mode.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0.0, 0.2)
                nn.init.uniform_(module.running_var, 0.6, 1.4)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
                nn.init.uniform_(module.weight, 0.7, 1.3)
                nn.init.normal_(module.bias, 0.0, 0.1)
            elif isinstance(bias := getattr(module, "bias", None), nn.Parameter) and not bias.any():
                nn.init.normal_(bias, 0.0, 0.05)
    return model.eval()
