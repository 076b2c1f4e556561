"""Recurrent nets and attention over sequences of any length."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.detection.case import Case
from benchmarks.detection.corpus.torch_writing import ORT, PYTORCH, bug, normal, seeded, twins
from pytest_onnxprep import TensorSpec

SEQUENCE = {"x": "float32[batch, t, 4]"}
LENGTHS = {"batch": (1, 8), "t": (1, 32)}


class LastState(nn.Module):
    """An LSTM that starts from ones, made by hand for the batch at hand."""

    def __init__(self, *, python_batch: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.python_batch = python_batch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output of every step."""
        batch = int(x.shape[0]) if self.python_batch else x.shape[0]
        start = torch.ones(1, batch, 5)
        out: torch.Tensor = self.lstm(x, (start, start))[0]
        return out


class Ragged(nn.Module):
    """A GRU over sequences of different lengths."""

    def __init__(self, *, keep_length: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 5, batch_first=True)
        self.keep_length = keep_length

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The outputs, zero beyond each length."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        total = x.shape[1] if self.keep_length else None
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=total)[0]


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attended values, without the weights."""
        out: torch.Tensor = self.attention(x, x, x, need_weights=False)[0]
        return out


CASES: list[Case] = [
    *twins(
        bug(
            "initial_state_for_traced_batch",
            "torchscript",
            model=seeded(lambda: LastState(python_batch=True)),
            inputs=SEQUENCE,
            dims=LENGTHS,
            link=f"{ORT}/11830",
            mechanism="the initial state has the traced batch size, and fits no other",
            witness=lambda: {"x": normal(6, 3, 4)},
        ),
        "the batch size is read from the traced shape",
        model=seeded(lambda: LastState(python_batch=False)),
    ),
    *twins(
        bug(
            "packed_shorter_than_padded",
            "torchscript",
            model=seeded(lambda: Ragged(keep_length=False)),
            inputs={
                "x": "float32[batch, 6, 4]",
                "lengths": TensorSpec("int64", "batch", low=1, high=7),
            },
            dims={"batch": (1, 8)},
            link=f"{PYTORCH}/48460",
            mechanism="packing is not recorded: the output is as long as the input, not as its longest sequence",
            witness=lambda: {"x": normal(2, 6, 4), "lengths": np.array([3, 4])},
        ),
        "total_length asks for the length of the input",
        model=seeded(lambda: Ragged(keep_length=True)),
    ),
    *twins(
        bug(
            "attention_reshapes_to_traced_length",
            "torchscript",
            model=seeded(SelfAttention),
            inputs=SEQUENCE,
            dims=LENGTHS,
            link=f"{PYTORCH}/122321",
            mechanism="queries, keys and values are reshaped to the traced length",
            witness=lambda: {"x": normal(2, 20, 4)},
            atol=1e-3,
            rtol=1e-3,
        ),
        "the length is fixed, the batch is not",
        inputs={"x": "float32[batch, 7, 4]"},
        dims={"batch": (1, 8)},
    ),
    *twins(
        bug(
            "encoder_layer_fixed_length",
            "torchscript",
            model=seeded(lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)),
            inputs={"src": "float32[batch, t, 4]"},
            dims=LENGTHS,
            link=f"{PYTORCH}/110347",
            mechanism="a TransformerEncoderLayer takes the traced length only",
            witness=lambda: {"src": normal(2, 20, 4)},
        ),
        "torch.export keeps the length symbolic",
        exporter="dynamo",
        dims={"batch": (2, 8), "t": (2, 32)},
    ),
]
