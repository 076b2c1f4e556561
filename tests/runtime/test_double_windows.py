"""Convolutions and pools against torch in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.runtime.double_call import Call
from pytest_onnxprep.runtime.double_windows import UNFOLDED, average_pool, conv, conv_transpose, lp_pool, max_pool

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def close(found, expected):
    """Assert agreement to float64's precision."""
    expected = expected.numpy()
    assert found.dtype == np.float64
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-13 * max(1, np.abs(expected).max())


def arrays(*shapes):
    """Float64 from a normal distribution."""
    return [RNG.standard_normal(shape) for shape in shapes]


def tensors(*values):
    """The same numbers in torch."""
    return [torch.from_numpy(array) for array in values]


@pytest.mark.parametrize(
    ("group", "channels", "attributes"),
    [
        (1, 6, {}),
        (2, 6, {"strides": [2, 1], "pads": [1, 2, 1, 2]}),
        (4, 8, {"dilations": [2, 1], "pads": [1, 0, 1, 0]}),
        (4, 4, {"strides": [3, 2]}),
    ],
    ids=["plain", "grouped", "depthwise, dilated", "depthwise, strided"],
)
def test_conv(group, channels, attributes):
    """Conv."""
    x, w, b = arrays((2, 4, 9, 8), (channels, 4 // group, 3, 2), (channels,))
    pads = attributes.get("pads", [0, 0])[:2]
    stride, dilation = attributes.get("strides", 1), attributes.get("dilations", 1)
    expected = torch.nn.functional.conv2d(*tensors(x, w, b), stride, pads, dilation, group)
    close(conv(Call({"group": group, **attributes}, 20), x, w, b), expected)


@pytest.mark.parametrize("rank", [1, 3])
def test_conv_of_other_ranks(rank):
    """Conv of other ranks."""
    x, w = arrays((1, 2, *[5] * rank), (3, 2, *[2] * rank))
    close(conv(Call({}, 20), x, w), getattr(torch, f"conv{rank}d")(*tensors(x, w)))


def test_conv_in_blocks(monkeypatch):
    """Conv in blocks."""
    monkeypatch.setattr("pytest_onnxprep.runtime.double_windows.UNFOLDED", 50)
    x, w = arrays((1, 2, 9, 8), (3, 2, 3, 3))
    close(conv(Call({}, 20), x, w), torch.conv2d(*tensors(x, w)))
    assert UNFOLDED > 50


@pytest.mark.parametrize(("mode", "pads"), [("SAME_UPPER", (0, 1, 0, 1)), ("SAME_LOWER", (1, 0, 1, 0))])
def test_automatic_padding(mode, pads):
    """Automatic padding."""
    x, w = arrays((1, 1, 6, 6), (1, 1, 2, 2))
    expected = torch.conv2d(torch.nn.functional.pad(torch.from_numpy(x), pads), torch.from_numpy(w))
    close(conv(Call({"auto_pad": mode}, 20), x, w), expected)


@pytest.mark.parametrize(
    ("group", "attributes"),
    [
        (1, {}),
        (2, {"strides": [2, 3], "output_padding": [1, 0], "pads": [1, 0, 1, 0]}),
        (1, {"dilations": [2, 1], "strides": [1, 2]}),
    ],
)
def test_conv_transpose(group, attributes):
    """Conv transpose."""
    x, w, b = arrays((2, 4, 5, 6), (4, 3, 3, 2), (3 * group,))
    stride, dilation = attributes.get("strides", 1), attributes.get("dilations", 1)
    pads, extra = attributes.get("pads", [0, 0])[:2], attributes.get("output_padding", 0)
    expected = torch.nn.functional.conv_transpose2d(*tensors(x, w, b), stride, pads, extra, group, dilation)
    close(conv_transpose(Call({"group": group, **attributes}, 20), x, w, b), expected)


def test_conv_transpose_to_a_shape():
    """Conv transpose to a shape."""
    x, w = arrays((1, 1, 3, 3), (1, 1, 3, 3))
    call = Call({"output_shape": [6, 6], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, 20)
    close(conv_transpose(call, x, w), torch.conv_transpose2d(*tensors(x, w), None, 2)[:, :, :6, :6])


POOL = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
def test_max_pool_with_indices(ceil, size):
    """Max pool with indices."""
    (x,) = arrays((2, 3, *size))
    found, where = max_pool(Call({**POOL, "ceil_mode": ceil}, 20, outputs=2), x)
    expected, places = torch.nn.functional.max_pool2d(
        torch.from_numpy(x), [3, 2], 2, 1, ceil_mode=bool(ceil), return_indices=True
    )
    close(found, expected)
    planes = np.arange(6).reshape(2, 3, 1, 1) * x[0, 0].size
    assert (where == places.numpy() + planes).all()


def test_max_pool_dilated():
    """Max pool dilated."""
    (x,) = arrays((1, 2, 9, 9))
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x), 2, 1, 0, 3)
    call = Call({"kernel_shape": [2, 2], "dilations": [3, 3]}, 20)
    close(max_pool(call, x), expected)


def test_max_pool_of_integers():
    """Max pool of integers."""
    assert max_pool(Call({"kernel_shape": [2]}, 20), np.int8([[[-3, -2, -5]]])).tolist() == [[[-2, -2]]]


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("with_pads", [0, 1])
def test_average_pool(ceil, with_pads):
    """Average pool."""
    (x,) = arrays((2, 3, 8, 7))
    expected = torch.nn.functional.avg_pool2d(torch.from_numpy(x), [3, 2], 2, 1, bool(ceil), bool(with_pads))
    close(average_pool(Call({**POOL, "ceil_mode": ceil, "count_include_pad": with_pads}, 20), x), expected)


def test_lp_pool():
    """Lp pool."""
    (x,) = arrays((1, 2, 8))
    expected = torch.nn.functional.lp_pool1d(torch.from_numpy(x).abs(), 3, 2)
    close(lp_pool(Call({"kernel_shape": [2], "strides": [2], "p": 3}, 20), x), expected)
