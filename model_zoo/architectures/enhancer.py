"""A speech enhancer that works frame by frame: mask over the spectrum, recurrent state in the caller's hands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Enhanced:
    """What one frame gives: the clean spectrum, the state to go on from, and what a display shows."""

    clean: torch.Tensor
    next_state: tuple[torch.Tensor, torch.Tensor]
    levels: dict[str, torch.Tensor]


class StreamEnhancer(nn.Module):
    """Two recurrent layers that estimate a mask, one state each."""

    def __init__(self, bins: int = 33, width: int = 24) -> None:
        super().__init__()
        self.first = nn.GRUCell(bins + 1, width)
        self.second = nn.GRUCell(width, width)
        self.mask = nn.Linear(width, bins)

    def forward(
        self,
        spectrum: torch.Tensor,
        state: tuple[torch.Tensor, torch.Tensor],
        microphone: dict[str, torch.Tensor],
        floor: torch.Tensor | None = None,
        *,
        gain: torch.Tensor | None = None,
    ) -> Enhanced:
        """One frame. `microphone` has `level` and `tilt`; nothing is taken below `floor`."""
        tilted = spectrum * microphone["tilt"]
        first = self.first(torch.cat([tilted, microphone["level"]], dim=1), state[0])
        second = self.second(first, state[1])
        mask = torch.sigmoid(self.mask(second))
        clean = spectrum * (mask if floor is None else torch.maximum(mask, floor))
        if gain is not None:
            clean = clean * gain
        levels = {"before": spectrum.square().mean(dim=1), "after": clean.square().mean(dim=1)}
        return Enhanced(clean, (first, second), levels)
