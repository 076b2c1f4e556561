"""Resizing, pooling, convolving and normalising images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from benchmarks.detection.case import Case
from benchmarks.detection.corpus.torch_edits import (
    align_corners_ignored,
    conv_bias_not_shifted,
    dilation_ignored_by_pads,
    instance_statistics,
    no_output_padding,
    resize_pytorch_half_pixel,
    training_mode_batch_norm,
)
from benchmarks.detection.corpus.torch_writing import ONNXSCRIPT, ORT, PYTORCH, bug, functional, normal, seeded, twins
from pytest_onnxprep import Dim

IMAGE = {"x": "float32[batch, 2, h, w]"}
SIZES = {"batch": (1, 4), "h": (6, 32), "w": (6, 32)}
SIGNAL = {"x": "float32[batch, 2, t]"}
TIMES = {"batch": (1, 4), "t": (6, 48)}


@functional
def pyramid_pool(x: torch.Tensor) -> torch.Tensor:
    """A pyramid pooling module: pooled features at two scales."""
    pooled = [F.adaptive_avg_pool2d(x, scale) for scale in (1, 3)]
    return torch.cat([level.flatten(2) for level in pooled], 2)


def trained_statistics(norm: Any) -> nn.Module:
    """Running statistics as training leaves them."""
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 3.0)
    trained: nn.Module = norm
    return trained


@seeded
def conv_then_norm() -> nn.Module:
    """The stem of a ResNet, whose convolution has no bias, with trained statistics."""
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), trained_statistics(nn.BatchNorm2d(4)), nn.ReLU())


@seeded
def instance_norm_with_statistics() -> nn.Module:
    """An instance norm that normalises with its running statistics in eval mode."""
    return trained_statistics(nn.InstanceNorm1d(2, affine=True, track_running_stats=True))


@seeded
def batch_norm() -> nn.Module:
    """A batch norm with trained statistics."""
    return trained_statistics(nn.BatchNorm1d(4))


CASES: list[Case] = [
    *twins(
        bug(
            "adaptive_avg_pool_divisible",
            "dynamo",
            model=functional(lambda x: F.adaptive_avg_pool2d(x, (3, 3))),
            inputs=IMAGE,
            dims={"batch": (1, 4), "h": Dim(6, 30, multiple_of=3), "w": Dim(6, 30, multiple_of=3)},
            link=f"{ONNXSCRIPT}/issues/1646",
            mechanism="the windows of an adaptive pool are worked out for the traced size only",
            witness=lambda: {"x": normal(1, 2, 12, 18)},
        ),
        "one window covers everything, whatever the size",
        model=functional(lambda x: F.adaptive_avg_pool2d(x, (1, 1))),
    ),
    *twins(
        bug(
            "adaptive_max_pool",
            "dynamo",
            model=functional(lambda x: F.adaptive_max_pool1d(x, 3)),
            inputs=SIGNAL,
            dims=TIMES,
            link=f"{PYTORCH}/42653",
            mechanism="the windows of an adaptive maximum are worked out for the traced size only",
            witness=lambda: {"x": normal(1, 2, 40)},
        ),
        "the size is fixed",
        inputs={"x": "float32[batch, 2, 12]"},
        dims={"batch": (1, 4)},
    ),
    *twins(
        bug(
            "pyramid_pooling",
            "dynamo",
            model=pyramid_pool,
            inputs=IMAGE,
            dims=SIZES,
            link=f"{PYTORCH}/64806",
            mechanism="a pyramid level that does not divide the traced size reads fixed rows: other sizes are wrong",
            witness=lambda: {"x": normal(1, 2, 20, 31)},
        ),
        "the image is fixed",
        inputs={"x": "float32[batch, 2, 8, 10]"},
        dims={"batch": (1, 4)},
    ),
    *twins(
        bug(
            "interpolate_keeps_one_side",
            "dynamo",
            model=functional(lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear", align_corners=False)),
            inputs=IMAGE,
            dims={"batch": (1, 4), "h": (2, 24), "w": (2, 24)},
            link="https://github.com/pytorch/pytorch/pull/28324",
            mechanism="PyTorch copies a side that the factor leaves as it is (3 * 1.3 is 3); Resize scales it",
            witness=lambda: {"x": normal(1, 2, 7, 3)},
        ),
        "a whole factor never leaves a side as it is",
        model=functional(lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)),
    ),
    *twins(
        bug(
            "nearest_one_off",
            "dynamo",
            model=functional(lambda x: F.interpolate(x, size=64, mode="nearest")),
            inputs={"x": "float32[batch, 2, t]"},
            dims={"batch": (1, 4), "t": (20, 64)},
            link=f"{ORT}/28085",
            mechanism="nearest neighbours of a size that is no multiple are one off: 26 to 64",
            witness=lambda: {"x": normal(1, 2, 26)},
            blame="kernel",
        ),
        "each element is repeated a whole number of times",
        model=functional(lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest")),
    ),
    *twins(
        bug(
            "divisor_override",
            "dynamo",
            model=functional(lambda x: F.avg_pool2d(x, 3, stride=2, padding=1, divisor_override=5)),
            inputs=IMAGE,
            dims=SIZES,
            link=f"{PYTORCH}/105349",
            mechanism="AveragePool has no divisor, and it is left out",
            witness=lambda: {"x": normal(1, 2, 9, 8)},
        ),
        "the divisor is the usual one",
        model=functional(lambda x: F.avg_pool2d(x, 3, stride=2, padding=1)),
    ),
    *twins(
        bug(
            "bilinear_below_opset_11",
            "torchscript",
            model=functional(lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)),
            inputs=IMAGE,
            dims=SIZES,
            link=f"{PYTORCH}/22906",
            mechanism="Resize has no half-pixel coordinates before opset 11",
            witness=lambda: {"x": normal(1, 2, 9, 8)},
            opset=10,
        ),
        "opset 11 has them",
        opset=11,
    ),
    *twins(
        bug(
            "same_padding_with_dilation",
            "torchscript",
            model=seeded(lambda: nn.Conv1d(2, 3, 3, padding="same", dilation=2)),
            inputs=SIGNAL,
            dims=TIMES,
            link=f"{ORT}/20582",
            mechanism="auto_pad=SAME with a dilation loads, and ONNX Runtime refuses every run",
            witness=lambda: {"x": normal(1, 2, 9)},
        ),
        "the padding is a number",
        model=seeded(lambda: nn.Conv1d(2, 3, 3, padding=2, dilation=2)),
    ),
    *twins(
        bug(
            "resize_to_one_pixel",
            "dynamo",
            model=functional(lambda x: F.interpolate(x, size=(1, 1), mode="bilinear", align_corners=False)),
            inputs=IMAGE,
            dims=SIZES,
            link=f"{PYTORCH}/183523",
            mechanism="pytorch_half_pixel reads the first pixel where the output has one",
            witness=lambda: {"x": normal(1, 2, 9, 8)},
            edit=resize_pytorch_half_pixel,
            atol=1e-3,
            rtol=1e-3,
        ),
        "today's half_pixel reads the middle",
    ),
    *twins(
        bug(
            "align_corners_ignored",
            "dynamo",
            model=functional(lambda x: F.interpolate(x, size=(11, 13), mode="bilinear", align_corners=True)),
            inputs=IMAGE,
            dims=SIZES,
            link=f"{ONNXSCRIPT}/pull/1254",
            mechanism="align_corners never reached the lowering of upsample_bilinear2d",
            witness=lambda: {"x": normal(1, 2, 9, 8)},
            edit=align_corners_ignored,
            atol=1e-3,
            rtol=1e-3,
        ),
        "today's Resize aligns corners",
    ),
    *twins(
        bug(
            "instance_norm_statistics",
            "dynamo",
            model=instance_norm_with_statistics,
            inputs=SIGNAL,
            dims={"batch": (2, 4), "t": (6, 48)},
            link=f"{PYTORCH}/53887",
            mechanism="running statistics are dropped: ONNX InstanceNormalization uses those of the input",
            witness=lambda: {"x": normal(2, 2, 9)},
            edit=instance_statistics,
        ),
        "today's file uses the running statistics",
    ),
    *twins(
        bug(
            "conv_bias_after_folding",
            "dynamo",
            model=conv_then_norm,
            inputs=IMAGE,
            dims=SIZES,
            link=f"{PYTORCH}/166797",
            mechanism="a batch norm is folded into a convolution, and the bias that this makes is wrong",
            witness=lambda: {"x": normal(1, 2, 9, 8)},
            edit=conv_bias_not_shifted,
            blame="converter",
        ),
        "today's folding makes the right bias",
    ),
    *twins(
        bug(
            "pads_without_dilation",
            "dynamo",
            model=seeded(lambda: nn.Conv2d(2, 3, 3, padding="same", dilation=2)),
            inputs=IMAGE,
            dims=SIZES,
            link=f"{ONNXSCRIPT}/pull/3037",
            mechanism="normalising pads forgets the dilation: the output shrinks",
            witness=lambda: {"x": normal(1, 2, 9, 8)},
            edit=dilation_ignored_by_pads,
            blame="converter",
        ),
        "today's pads take it into account",
    ),
    *twins(
        bug(
            "output_padding_dropped",
            "dynamo",
            model=seeded(lambda: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1)),
            inputs=IMAGE,
            dims=SIZES,
            link=f"{PYTORCH}/104206",
            mechanism="output_padding is always zero",
            witness=lambda: {"x": normal(1, 2, 9, 8)},
            edit=no_output_padding,
        ),
        "today's ConvTranspose has it",
    ),
    *twins(
        bug(
            "batch_norm_in_training_mode",
            "dynamo",
            model=batch_norm,
            inputs={"x": "float32[batch, 4]"},
            dims={"batch": (2, 32)},
            link=f"{ORT}/26584",
            mechanism="the file normalises with the statistics of the batch",
            witness=lambda: {"x": normal(9, 4)},
            edit=training_mode_batch_norm,
        ),
        "today's file is in inference mode",
    ),
]
