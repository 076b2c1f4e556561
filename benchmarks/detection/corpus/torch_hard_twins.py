"""Sound files that are hard to leave alone: rounding grows, choices flip, and all of it is legal.

Each carries the link of a thread in which such a difference was reported, or asked about.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from benchmarks.detection.case import Case
from benchmarks.detection.corpus.torch_writing import ORT, PYTORCH, functional, seeded
from pytest_onnxprep import TensorSpec

ROWS = {"x": "float32[batch, t]"}
LENGTHS = {"batch": (1, 8), "t": (1, 32)}


def twin(name: str, exporter: str, **arguments: Any) -> Case:
    """A clean case on its own."""
    return Case(name=f"torch_{name}_clean", framework="torch", exporter=exporter, **arguments)


@seeded
def deep_net() -> nn.Module:
    """Twelve layers of matrix products."""
    layers = [layer for _ in range(12) for layer in (nn.Linear(32, 32), nn.LayerNorm(32), nn.GELU())]
    return nn.Sequential(*layers, nn.Linear(32, 4))


def in_tenths(layer: nn.Linear) -> nn.Linear:
    """Round weights to tenths: whole inputs give sums that would tie, but for rounding."""
    with torch.no_grad():
        layer.weight.copy_(torch.round(layer.weight * 10) / 10)
        layer.bias.copy_(torch.round(layer.bias * 10) / 10)
    return layer


class Quantised(nn.Module):
    """Features rounded to whole steps: discontinuous after a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Codes."""
        codes: torch.Tensor = self.project(x) * 4
        return torch.round(codes)


class Detected(nn.Module):
    """A threshold on scores of a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Where a score is positive."""
        score: torch.Tensor = self.score(x)
        return score > 0


class Classifier(nn.Module):
    """The class of the largest logit."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = in_tenths(nn.Linear(16, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Positions of maxima."""
        logits: torch.Tensor = self.logits(x)
        return logits.argmax(1)


class Halves(nn.Module):
    """A perceptron in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float16 in, float16 out."""
        out: torch.Tensor = self.layers(x)
        return out


@functional
def standardised(x: torch.Tensor) -> torch.Tensor:
    """Rows of zero mean and unit variance, nearly constant ones included."""
    return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True, correction=0) + 1e-3)


@functional
def three_best(x: torch.Tensor) -> Any:
    """Values and positions of the largest."""
    return torch.topk(x, 3, dim=1)


CASES: list[Case] = [
    twin(
        "class_of_near_ties",
        "dynamo",
        model=seeded(Classifier),
        inputs={"x": "float32[batch, 16]"},
        dims={"batch": (1, 32)},
        link="https://github.com/apache/tvm/issues/19558",
        mechanism="two logits that nearly tie may swap places",
    ),
    twin(
        "three_best_of_ties",
        "torchscript",
        model=three_best,
        inputs=ROWS,
        dims={"batch": (1, 8), "t": (3, 32)},
        link="https://github.com/microsoft/onnxruntime/issues/2434",
        mechanism="which of several equal values comes first is free",
    ),
    twin(
        "sorted_values",
        "dynamo",
        model=functional(lambda x: torch.sort(x, 1).values),
        inputs=ROWS,
        dims=LENGTHS,
        link="https://github.com/microsoft/onnxruntime/issues/2434",
        mechanism="the values of a sort do not depend on the order among ties",
    ),
    twin(
        "rounded_after_product",
        "torchscript",
        model=seeded(Quantised),
        inputs={"x": "float32[batch, 16]"},
        dims={"batch": (1, 16)},
        link=f"{PYTORCH}/44692",
        mechanism="a product that rounds differently in its last bit may round to the next whole number",
    ),
    twin(
        "threshold_after_product",
        "dynamo",
        model=seeded(Detected),
        inputs={"x": "float32[batch, 16]"},
        dims={"batch": (1, 16)},
        link="https://github.com/pytorch/pytorch/pull/37787",
        mechanism="a score that is zero but for rounding may fall on either side",
    ),
    twin(
        "twelve_layers",
        "torchscript",
        model=deep_net,
        inputs={"input": "float32[batch, 32]"},
        dims={"batch": (1, 16)},
        link=f"{ORT}/17689",
        mechanism="rounding grows over twelve layers",
        atol=1e-3,
        rtol=1e-3,
    ),
    twin(
        "sum_of_many",
        "dynamo",
        model=functional(lambda x: x.sum(1)),
        inputs={"x": "float32[batch, n]"},
        dims={"batch": (1, 2), "n": (1, 65536)},
        link=f"{PYTORCH}/94261",
        mechanism="65536 numbers are summed in another order",
        atol=1e-2,
        rtol=1e-4,
    ),
    twin(
        "running_sum",
        "torchscript",
        model=functional(lambda x: torch.cumsum(x, 1)),
        inputs={"x": "float32[batch, n]"},
        dims={"batch": (1, 4), "n": (1, 4096)},
        link=f"{PYTORCH}/77842",
        mechanism="a long cumulative sum is accumulated in another order",
        atol=1e-3,
        rtol=1e-4,
    ),
    twin(
        "large_logits",
        "dynamo",
        model=functional(lambda x: F.softmax(x * 30.0, 1)),
        inputs=ROWS,
        dims=LENGTHS,
        link="https://github.com/pytorch/vision/issues/9325",
        mechanism="a softmax of large logits is sharp, and its tails underflow",
    ),
    twin(
        "nearly_constant_rows",
        "torchscript",
        model=standardised,
        inputs=ROWS,
        dims={"batch": (1, 8), "t": (2, 32)},
        link=f"{PYTORCH}/60582",
        mechanism="a row that is constant but for rounding is divided by nearly nothing",
        atol=1e-3,
        rtol=1e-3,
    ),
    twin(
        "half_precision",
        "dynamo",
        model=seeded(Halves),
        inputs={"x": TensorSpec("float16", "batch, 16", low=-8, high=8)},
        dims={"batch": (1, 16)},
        link=f"{PYTORCH}/190338",
        mechanism="half precision rounds after every layer",
        atol=2e-2,
        rtol=2e-2,
    ),
    twin(
        "exponentials",
        "torchscript",
        model=functional(lambda x: torch.exp(x.clamp(-20, 20)) ** 1.5),
        inputs=ROWS,
        dims=LENGTHS,
        link=f"{ORT}/10491",
        mechanism="the result spans twenty orders of magnitude: only its relative error is small",
        rtol=1e-3,
    ),
    twin(
        "difference_of_squares",
        "dynamo",
        model=functional(lambda x: (x * x).mean(1) - x.mean(1) ** 2),
        inputs={"x": TensorSpec("float32", "batch, t", low=-10, high=10)},
        dims=LENGTHS,
        link=f"{PYTORCH}/94261",
        mechanism="a variance as a difference of two means cancels",
        atol=1e-3,
        rtol=1e-3,
    ),
    twin(
        "logarithm_of_tiny",
        "torchscript",
        model=functional(lambda x: torch.log(x.abs() + 1e-6)),
        inputs=ROWS,
        dims=LENGTHS,
        link=f"{ORT}/10491",
        mechanism="the logarithm is steep near zero",
    ),
    twin(
        "layer_norm_of_constant_rows",
        "dynamo",
        model=functional(lambda x: F.layer_norm(x, (8,))),
        inputs={"x": "float32[batch, 8]"},
        dims={"batch": (1, 16)},
        link="https://github.com/microsoft/onnxruntime/issues/18959",
        mechanism="the variance of a constant row is rounding and epsilon",
        atol=1e-3,
        rtol=1e-3,
    ),
    twin(
        "large_identifiers",
        "torchscript",
        model=functional(lambda ids: (ids * 31 + 7) % 1000003),
        inputs={"ids": TensorSpec("int64", "batch, t", low=0, high=2**40)},
        dims=LENGTHS,
        link=f"{PYTORCH}/78442",
        mechanism="identifiers beyond what a float32 holds stay exact",
    ),
]
