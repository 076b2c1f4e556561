"""Integers: signs, widths and types."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.detection.case import Case
from benchmarks.detection.corpus.torch_edits import beta_taken_for_one, fmod_for_remainder
from benchmarks.detection.corpus.torch_writing import (
    ONNXSCRIPT,
    PYTORCH,
    bug,
    functional,
    integers,
    normal,
    seeded,
    twins,
)
from pytest_onnxprep import TensorSpec

NUMBERS = {"x": "int64[batch, t]"}
COUNTS = {"x": TensorSpec("int64", "batch, t", low=0, high=1000)}
PIXELS = {"x": "uint8[batch, t]"}
LENGTHS = {"batch": (1, 8), "t": (1, 32)}


class WeightedBias(torch.nn.Module):
    """A linear layer that counts its bias twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 3))
        self.bias = torch.nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply and add."""
        return torch.addmm(self.bias, x, self.weight, beta=2.0)


def negatives() -> dict[str, np.ndarray]:
    """Integers of both signs."""
    return {"x": np.array([[-7, -3, -1, 0, 1, 5, 7]])}


CASES: list[Case] = [
    *twins(
        bug(
            "floor_division_truncates",
            "torchscript",
            model=functional(lambda x: x // 3),
            inputs=NUMBERS,
            dims=LENGTHS,
            link=f"{PYTORCH}/44692",
            mechanism="floor division of integers becomes Div, which truncates",
            witness=negatives,
        ),
        "counts are never negative",
        inputs=COUNTS,
    ),
    *twins(
        bug(
            "floor_divide_of_floats_truncates",
            "torchscript",
            model=functional(lambda x: x // 2.0),
            inputs={"x": "float32[batch, t]"},
            dims=LENGTHS,
            link=f"{PYTORCH}/78442",
            mechanism="floor division of floats truncates too",
            witness=lambda: {"x": np.array([[-7.0, -3.0, -0.5]], np.float32)},
        ),
        "rounding_mode='floor' is exported as asked; halving is exact",
        model=functional(lambda x: torch.div(x, 2.0, rounding_mode="floor")),
    ),
    *twins(
        bug(
            "right_shift_truncates",
            "torchscript",
            model=functional(lambda x: x >> 1),
            inputs=NUMBERS,
            dims=LENGTHS,
            link=f"{PYTORCH}/191014",
            mechanism="a right shift becomes a division by a power of two, which truncates",
            witness=negatives,
        ),
        "counts are never negative",
        inputs=COUNTS,
    ),
    *twins(
        bug(
            "byte_above_minus_one",
            "torchscript",
            model=functional(lambda x: x > -1),
            inputs=PIXELS,
            dims=LENGTHS,
            link="https://github.com/pytorch/pytorch/pull/37787",
            mechanism="the scalar of a comparison is cast to uint8: -1 becomes 255",
            witness=lambda: {"x": np.array([[0, 3, 200]], np.uint8)},
        ),
        "the threshold is a byte",
        model=functional(lambda x: x > 127),
    ),
    *twins(
        bug(
            "cumsum_keeps_int32",
            "torchscript",
            model=functional(lambda x: x.cumsum(1)),
            inputs={"x": TensorSpec("int32", "batch, t", low=0, high=100)},
            dims=LENGTHS,
            link=f"{PYTORCH}/77842",
            mechanism="cumsum promotes integers to int64; CumSum does not",
            witness=lambda: {"x": integers(2, 5, high=100).astype(np.int32)},
        ),
        "the input is int64 already",
        inputs={"x": TensorSpec("int64", "batch, t", low=0, high=100)},
    ),
    *twins(
        bug(
            "byte_shift_is_signed",
            "dynamo",
            model=functional(lambda x: x >> 2),
            inputs=PIXELS,
            dims=LENGTHS,
            link=f"{ONNXSCRIPT}/pull/1054",
            mechanism="bytes are shifted by the overload for int8, and come out as int8",
            witness=lambda: {"x": np.array([[0, 3, 200]], np.uint8)},
        ),
        "int32 has its own overload",
        inputs={"x": "int32[batch, t]"},
    ),
    *twins(
        bug(
            "mean_of_integers",
            "dynamo",
            model=functional(lambda x: x.mean(1, dtype=torch.float32)),
            inputs={"x": TensorSpec("int64", "batch, t", low=0, high=1000)},
            dims=LENGTHS,
            link=f"{ONNXSCRIPT}/pull/2885",
            mechanism="the mean is taken of integers and cast afterwards",
            witness=lambda: {"x": np.array([[1, 2, 2, 2]])},
        ),
        "the integers are cast first",
        model=functional(lambda x: x.to(torch.float32).mean(1)),
    ),
    *twins(
        bug(
            "half_sum_is_single",
            "dynamo",
            model=functional(lambda x: x.sum(1)),
            inputs={"x": TensorSpec("float16", "batch, t", low=-4, high=4)},
            dims=LENGTHS,
            link=f"{PYTORCH}/190338",
            mechanism="a sum of float16 is accumulated in float32, and stays float32",
            witness=lambda: {"x": normal(2, 5).clip(-4, 4).astype(np.float16)},
        ),
        "a float16 mean stays float16",
        model=functional(lambda x: x.mean(1)),
        atol=4e-3,
        rtol=4e-3,
    ),
    *twins(
        bug(
            "remainder_of_negatives",
            "dynamo",
            model=functional(lambda x: x % 3),
            inputs=NUMBERS,
            dims=LENGTHS,
            link="https://github.com/pytorch/pytorch/pull/64579",
            mechanism="the remainder takes the sign of the dividend",
            witness=negatives,
            edit=fmod_for_remainder,
        ),
        "today's Mod takes that of the divisor",
    ),
    *twins(
        bug(
            "gemm_beta",
            "dynamo",
            model=seeded(WeightedBias),
            inputs={"x": "float32[batch, 4]"},
            dims={"batch": (1, 16)},
            link=f"{ONNXSCRIPT}/pull/3027",
            mechanism="a rewrite rebuilds Gemm and takes beta for one",
            witness=lambda: {"x": normal(3, 4)},
            edit=beta_taken_for_one,
            blame="converter",
        ),
        "today's Gemm keeps beta",
    ),
]
