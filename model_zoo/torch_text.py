"""Text models in PyTorch, written from their papers and drawn from fixed seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def build_lstm_tagger() -> torch.nn.Module:
    """Build a bidirectional LSTM tagger (Huang et al. 2015, arXiv:1508.01991, without the CRF).

    `tokens int64[batch, seq]`, ids 0..999, to `tag_logits float32[batch, seq, 17]`.

    Returns:
        The model in eval mode, 132 753 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.lstm_tagger import LSTMTagger

    with fixed_seed(97):
        return trained_like(LSTMTagger())
