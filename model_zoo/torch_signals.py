"""Signals in PyTorch: models of time series and sound, written from their papers, drawn from fixed seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def build_tcn() -> torch.nn.Module:
    """Build a temporal convolutional network (Bai et al. 2018, arXiv:1803.01271) with weight normalisation.

    `signal float32[batch, 4, time]` to `forecast float32[batch, 2, time]`; no step sees a later one.

    Returns:
        The model in eval mode, 9 386 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.tcn import TCN

    with fixed_seed(1803):
        return trained_like(TCN())


def build_wavenet() -> torch.nn.Module:
    """Build a small WaveNet (van den Oord et al. 2016, arXiv:1609.03499): 6 gated layers, dilations 1 to 32.

    `samples int64[batch, time]`, 8 bits each, to `logits float32[batch, 256, time]`.

    Returns:
        The model in eval mode, 45 952 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.wavenet import WaveNet

    with fixed_seed(16):
        return trained_like(WaveNet())


def build_stream_enhancer() -> torch.nn.Module:
    """Build a speech enhancer that works frame by frame (Valin 2018, arXiv:1709.08243, in outline).

    `spectrum float32[batch, 33]`, `state`, a tuple of two `float32[batch, 24]`, `microphone`, a dict of
    `level float32[batch, 1]` and `tilt float32[33]`, and two that may be left out, `floor float32[]` and, by keyword
    only, `gain float32[batch, 1]`, to a dataclass: `clean float32[batch, 33]`, `next_state`, `levels`.

    Returns:
        The model in eval mode, 8 745 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.enhancer import StreamEnhancer

    with fixed_seed(1709):
        return trained_like(StreamEnhancer())
