"""Python numbers that a tracer wrote into the graph: right at the traced sizes and values, wrong elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from benchmarks.detection.case import Case
from benchmarks.detection.corpus.torch_writing import PYTORCH, bug, functional, normal, seeded, twins

ROWS = {"x": "float32[batch, t]"}
SEQUENCE = {"x": "float32[batch, t, 8]"}
IMAGE = {"x": "float32[batch, 2, h, w]"}
LENGTHS = {"batch": (1, 8), "t": (1, 64)}
SIZES = {"batch": (1, 4), "h": (8, 40), "w": (8, 40)}
FACE_PARSING = "https://github.com/yakhyo/face-parsing/issues/7"


@functional
def scaled_by_width(x: torch.Tensor) -> torch.Tensor:
    """Attention-like scaling with a Python number."""
    scale: float = 1.0 / int(x.shape[1]) ** 0.5
    return x * scale


@functional
def numpy_positions(x: torch.Tensor) -> torch.Tensor:
    """A position ramp made with NumPy."""
    positions = np.arange(int(x.shape[1]), dtype=np.float32)
    return x + torch.from_numpy(positions)


@functional
def torch_positions(x: torch.Tensor) -> torch.Tensor:
    """The same ramp from the traced shape."""
    return x + torch.arange(x.shape[1], dtype=torch.float32)


def leaky_sum(x: torch.Tensor, steps: int) -> torch.Tensor:
    """A recurrence written as a Python loop."""
    state = torch.zeros_like(x[:, 0])
    for step in range(steps):
        state = 0.5 * state + x[:, step]
    return state


@functional
def louder_if_long(x: torch.Tensor) -> torch.Tensor:
    """A Python branch on the length."""
    return x * 2.0 if x.shape[1] > 16 else x


@functional
def louder_if_many(x: torch.Tensor) -> torch.Tensor:
    """A Python branch on the batch size."""
    return x * 2.0 if x.shape[0] > 4 else x


@functional
def doubled_if_positive(x: torch.Tensor) -> torch.Tensor:
    """A Python branch on the data."""
    if x.sum() > 0:
        return x * 2.0
    return x - 1.0


@functional
def to_unit_peak(x: torch.Tensor) -> torch.Tensor:
    """Normalises by a maximum that passes through Python."""
    return x / (1.0 + x.abs().max().item())


@functional
def mean_by_len(x: torch.Tensor) -> torch.Tensor:
    """A batch mean that asks ``len``."""
    return x.sum(0) / len(x)


@functional
def context_at_full_size(x: torch.Tensor) -> torch.Tensor:
    """BiSeNet's context path: pool, then resize back to Python sizes."""
    return F.interpolate(F.avg_pool2d(x, 2), [int(size) for size in x.shape[2:]], mode="nearest")


@functional
def global_pool(x: torch.Tensor) -> torch.Tensor:
    """BiSeNet's attention refinement: a pool as large as the features."""
    return F.avg_pool2d(x, [int(size) for size in x.shape[2:]])


@functional
def best_five(x: torch.Tensor) -> torch.Tensor:
    """The proposals of a detector: at most five of what there is."""
    return torch.topk(x, min(5, int(x.shape[1])), dim=1).values


class Decoder(nn.Module):
    """A strided convolution and its transpose, back to the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 3, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> Any:
        """Down and up again."""
        return self.up(self.down(x), output_size=x.shape[2:])


@functional
def ramp_weighted(x: torch.Tensor) -> torch.Tensor:
    """Weights every step by its relative position."""
    return x * torch.linspace(-1.0, 1.0, x.shape[1])


CASES: list[Case] = [
    *twins(
        bug(
            "scale_traced_as_constant",
            "torchscript",
            model=scaled_by_width,
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{PYTORCH}/33443",
            mechanism="a Python number computed from the width is a constant of the graph",
            witness=lambda: {"x": normal(3, 40)},
        ),
        "torch.export keeps the number symbolic",
        exporter="dynamo",
    ),
    *twins(
        bug(
            "numpy_positions",
            "torchscript",
            model=numpy_positions,
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{PYTORCH}/26127",
            mechanism="a NumPy position table has the traced length: other lengths are refused at run time",
            witness=lambda: {"x": normal(3, 40)},
        ),
        "the table comes from torch.arange over the traced shape",
        model=torch_positions,
    ),
    *twins(
        bug(
            "loop_unrolled",
            "torchscript",
            model=functional(lambda x: leaky_sum(x, x.shape[1])),
            inputs={"x": "float32[batch, t, 3]"},
            dims=LENGTHS,
            link="https://github.com/huggingface/optimum/pull/2025",
            mechanism="a loop over the time steps is unrolled for the traced number of steps",
            witness=lambda: {"x": normal(2, 40, 3)},
        ),
        "the number of steps is fixed",
        model=functional(lambda x: leaky_sum(x, 6)),
        inputs={"x": "float32[batch, 6, 3]"},
        dims={"batch": (1, 8)},
    ),
    *twins(
        bug(
            "branch_on_length",
            "torchscript",
            model=louder_if_long,
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{PYTORCH}/58368",
            mechanism="only the branch of the traced length is in the graph",
            witness=lambda: {"x": normal(3, 40)},
        ),
        "no declared length takes the other branch",
        dims={"batch": (1, 8), "t": (1, 16)},
    ),
    *twins(
        bug(
            "branch_on_batch",
            "dynamo",
            model=louder_if_many,
            inputs={"x": "float32[batch, 4]"},
            dims={"batch": (1, 32)},
            link="https://github.com/pytorch/tutorials/pull/3214",
            mechanism="torch.export takes the branch of the traced batch and narrows its range; the file is silent",
            witness=lambda: {"x": normal(20, 4)},
        ),
        "no declared batch takes the other branch",
        dims={"batch": (5, 32)},
    ),
    *twins(
        bug(
            "branch_on_data",
            "torchscript",
            model=doubled_if_positive,
            inputs=ROWS,
            dims=LENGTHS,
            link="https://github.com/huggingface/optimum/pull/1582",
            mechanism="only the branch that the traced values took is in the graph",
            witness=lambda: {"x": -normal(3, 5)},
        ),
        "the choice is a torch.where, element by element",
        model=functional(lambda x: torch.where(x > 0, x * 2.0, x - 1.0)),
    ),
    *twins(
        bug(
            "item_is_constant",
            "torchscript",
            model=to_unit_peak,
            inputs=ROWS,
            dims=LENGTHS,
            link="https://github.com/Zhongxu-Wang/ArtSpeech/issues/1",
            mechanism="a value read with .item() is a constant of the graph",
            witness=lambda: {"x": normal(3, 5, scale=30)},
        ),
        "the maximum stays a tensor",
        model=functional(lambda x: x / (1.0 + x.abs().max())),
    ),
    *twins(
        bug(
            "len_is_constant",
            "torchscript",
            model=mean_by_len,
            inputs={"x": "float32[batch, 5]"},
            dims={"batch": (1, 32)},
            link="https://github.com/huggingface/optimum/pull/2025",
            mechanism="len(x) is the traced batch size",
            witness=lambda: {"x": normal(20, 5)},
        ),
        "x.shape[0] is traced",
        model=functional(lambda x: x.sum(0) / x.shape[0]),
    ),
    *twins(
        bug(
            "resize_to_python_sizes",
            "torchscript",
            model=context_at_full_size,
            inputs=IMAGE,
            dims=SIZES,
            link=FACE_PARSING,
            mechanism="int(size) bakes the output size of an interpolate: another image comes out at the traced size",
            witness=lambda: {"x": normal(1, 2, 24, 32)},
        ),
        "the factor is a number, not a size",
        model=functional(lambda x: F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="nearest")),
    ),
    *twins(
        bug(
            "pool_as_large_as_features",
            "torchscript",
            model=global_pool,
            inputs=IMAGE,
            dims=SIZES,
            link=FACE_PARSING,
            mechanism="the kernel of a pool over all of the features is baked",
            witness=lambda: {"x": normal(1, 2, 24, 32)},
        ),
        "a mean over both axes has no kernel",
        model=functional(lambda x: x.mean((2, 3), keepdim=True)),
    ),
    *twins(
        bug(
            "topk_of_at_most",
            "torchscript",
            model=best_five,
            inputs=ROWS,
            dims=LENGTHS,
            link="https://github.com/pytorch/vision/pull/5310",
            mechanism="k = min(5, traced length) is baked: too few for longer inputs, refused for shorter ones",
            witness=lambda: {"x": normal(3, 2)},
        ),
        "every declared length has five elements",
        dims={"batch": (1, 8), "t": (5, 64)},
    ),
    *twins(
        bug(
            "transpose_to_input_size",
            "torchscript",
            model=seeded(Decoder),
            inputs=IMAGE,
            dims=SIZES,
            link=f"{PYTORCH}/27838",
            mechanism="output_padding is baked from the parity of the traced size",
            witness=lambda: {"x": normal(1, 2, 15, 22)},
        ),
        "every declared size is even, as the traced one",
        dims={"batch": (1, 4), "h": (8, 40), "w": (8, 40)},
        inputs={"x": "float32[batch, 2, 2 * h, 2 * w]"},
    ),
    *twins(
        bug(
            "linspace_of_one",
            "torchscript",
            model=ramp_weighted,
            inputs=ROWS,
            dims=LENGTHS,
            link=f"{PYTORCH}/73559",
            mechanism="linspace divides by the number of steps minus one: NaN for one step",
            witness=lambda: {"x": normal(3, 1)},
        ),
        "every declared length has two steps",
        dims={"batch": (1, 8), "t": (2, 64)},
    ),
    *twins(
        bug(
            "roll_further_than_axis",
            "torchscript",
            model=functional(lambda x: torch.roll(x, 3, 1)),
            inputs=ROWS,
            dims=LENGTHS,
            link="https://github.com/microsoft/onnxscript/pull/3024",
            mechanism="the shift is not reduced by the length of the axis",
            witness=lambda: {"x": normal(3, 2)},
        ),
        "every declared length is at least the shift",
        dims={"batch": (1, 8), "t": (3, 64)},
    ),
    *twins(
        bug(
            "roll_of_nothing",
            "dynamo",
            model=functional(lambda x: torch.roll(x, 3, 0)),
            inputs={"x": "float32[n, 3]"},
            dims={"n": (0, 16)},
            link="https://github.com/microsoft/onnxscript/pull/3024",
            mechanism="the shift is reduced modulo a length of zero, which ONNX Runtime refuses",
            witness=lambda: {"x": normal(0, 3)},
        ),
        "the declared length is never zero",
        dims={"n": (1, 16)},
    ),
]
