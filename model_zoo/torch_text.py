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


def build_gru_encoder() -> torch.nn.Module:
    """Build the encoder of a translation model (Bahdanau et al. 2014, arXiv:1409.0473): 2 bidirectional GRU layers.

    `tokens int64[batch, seq]`, ids 0..499, to `annotations float32[batch, seq, 80]` and `state float32[batch, 40]`.

    Returns:
        The model in eval mode, 76 520 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.seq2seq import GRUEncoder

    with fixed_seed(1409):
        return trained_like(GRUEncoder())


def build_text_encoder() -> torch.nn.Module:
    """Build a text encoder (Vaswani et al. 2017, arXiv:1706.03762) of torch's own transformer layers.

    `tokens int64[batch, seq]`, ids 0..499, and `mask int64[batch, seq]` (0 where there is padding) to
    `vector float32[batch, 64]`; seq up to 64.

    Returns:
        The model in eval mode, 98 944 parameters.
    """
    from model_zoo._torch_seeding import fixed_seed, trained_like
    from model_zoo.architectures.text_encoder import TextEncoder

    with fixed_seed(1706):
        return trained_like(TextEncoder())
