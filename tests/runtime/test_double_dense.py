"""Element-wise, normalising and indexing operators against torch in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_onnxprep.runtime import double_dense as dense
from pytest_onnxprep.runtime.double_call import Call

torch = pytest.importorskip("torch")
F = torch.nn.functional
X = np.random.default_rng(0).standard_normal((2, 4, 5)) * 3
T = torch.from_numpy(X)
S, B = np.random.default_rng(1).standard_normal((2, 4))


def call(opset=20, outputs=1, **attributes):
    """How a node is called."""
    return Call(attributes, opset, outputs)


def close(found, expected):
    """Assert agreement to float64's precision."""
    assert found.shape == tuple(expected.shape)
    assert np.abs(found - np.asarray(expected)).max() < 1e-14


@pytest.mark.parametrize(
    ("function", "attributes", "expected"),
    [
        (dense.erf, {}, torch.erf),
        (dense.gelu, {}, F.gelu),
        (dense.gelu, {"approximate": "tanh"}, lambda x: F.gelu(x, approximate="tanh")),
        (dense.fast_gelu, {}, lambda x: F.gelu(x, approximate="tanh")),
        (dense.quick_gelu, {}, lambda x: x * torch.sigmoid(1.702 * x)),
        (dense.sigmoid, {}, torch.sigmoid),
        (dense.elu, {"alpha": 0.5}, lambda x: F.elu(x, 0.5)),
        (dense.softmax, {"axis": 1}, lambda x: x.softmax(1)),
        (dense.log_softmax, {}, lambda x: x.log_softmax(-1)),
        (dense.lrn, {"size": 3, "alpha": 0.1}, lambda x: F.local_response_norm(x, 3, 0.1)),
    ],
)
def test_agrees_with_torch(function, attributes, expected):
    """Agrees with torch."""
    close(function(call(**attributes), X), expected(T))


def test_erf_in_blocks(monkeypatch):
    """Erf in blocks."""
    monkeypatch.setattr(dense, "_BLOCK", 3)
    assert dense.erf(call(), X[0, 0]).tolist() == [math.erf(x) for x in X[0, 0]]


def test_log_softmax_of_what_underflows():
    """Log softmax of what underflows."""
    assert dense.log_softmax(call(), np.array([0.0, -2000.0])).tolist() == [0, -2000]


@pytest.mark.parametrize("function", [dense.softmax, dense.log_softmax])
def test_softmax_before_opset_13_is_over_all_axes_from_its_own_on(function):
    """Softmax before opset 13 is over all axes from its own on."""
    found = function(call(opset=11), X)
    assert np.array_equal(found.reshape(2, 20), function(call(), X.reshape(2, 20)))


def test_hardmax():
    """Hardmax."""
    assert dense.hardmax(call(), np.array([[1.0, 3, 3], [2, 1, 0]])).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_layer_normalization():
    """Layer normalization."""
    y, mean, _ = dense.layer_normalization(call(outputs=3, axis=1), X, X[0], X[1])
    close(y, F.layer_norm(T, (4, 5), T[0], T[1]))
    close(mean, T.mean((1, 2), keepdim=True))


def test_rms_normalization():
    """Rms normalization."""
    close(dense.rms_normalization(call(epsilon=1e-6), X, X[0, 0]), F.rms_norm(T, (5,), T[0, 0], 1e-6))


def test_skip_layer_normalization():
    """Skip layer normalization."""
    y, *_, total = dense.skip_layer_normalization(call(outputs=4, epsilon=1e-5), X, 2 * X, X[0, 0], X[0, 1], X[0, 2])
    close(total, 3 * T + T[0, 2])
    close(y, F.layer_norm(3 * T + T[0, 2], (5,), T[0, 0], T[0, 1]))


def test_instance_normalization():
    """Instance normalization."""
    close(
        dense.instance_normalization(call(), X, S, B), F.instance_norm(T, weight=torch.tensor(S), bias=torch.tensor(B))
    )


@pytest.mark.parametrize(("opset", "scale"), [(21, S), (18, S[:2])])
def test_group_normalization(opset, scale):
    """Group normalization."""
    each = torch.tensor(np.repeat(scale, 4 // scale.size))
    close(dense.group_normalization(call(opset, num_groups=2), X, scale, scale), F.group_norm(T, 2, each, each))


def test_fused_matmul():
    """Fused matmul."""
    close(dense.fused_matmul(call(alpha=0.5, transA=1), X[0], X[1]), 0.5 * T[0].T @ T[1])


def test_gather_elements_from_a_part():
    """Gather elements from a part."""
    indices = np.array([[[3, 0]], [[1, -1]]])
    found = dense.gather_elements(call(axis=1), X, indices)
    assert np.array_equal(found, [[[X[0, 3, 0], X[0, 0, 1]]], [[X[1, 1, 0], X[1, -1, 1]]]])


@pytest.mark.parametrize(("how", "name"), [("add", "sum"), ("mul", "prod"), ("max", "amax"), ("min", "amin")])
def test_scatter_elements_with_repeated_indices(how, name):
    """Scatter elements with repeated indices."""
    indices = np.array([[0, 1, 2, 0, 0]])
    expected = T[0].scatter_reduce(0, torch.tensor(indices), T[1, :1], name)
    close(dense.scatter_elements(call(axis=0, reduction=how), X[0], indices, X[1, :1]), expected)


def test_scatter_elements_without_a_reduction():
    """Scatter elements without a reduction."""
    indices = np.array([[-1, 1], [0, 0]])
    expected = T[0].scatter(1, torch.tensor(indices % 5), T[1, :2, :2])
    close(dense.scatter_elements(call(axis=1), X[0], indices, X[1, :2, :2]), expected)


def test_scatter_nd():
    """Scatter nd."""
    indices = np.array([[0, 1], [1, 2], [0, 1]])
    expected = T.index_put((torch.tensor(indices[:, 0]), torch.tensor(indices[:, 1])), T[0, :3], accumulate=True)
    close(dense.scatter_nd(call(reduction="add"), X, indices, X[0, :3]), expected)


def test_gather_nd_in_batches():
    """Gather nd in batches."""
    found = dense.gather_nd(call(batch_dims=1), X, np.array([[[3], [0]], [[1], [1]]]))
    assert np.array_equal(found, np.stack([X[0, [3, 0]], X[1, [1, 1]]]))


def test_cum_sum_exclusive_and_reverse():
    """Cum sum exclusive and reverse."""
    found = dense.cum_sum(call(exclusive=1, reverse=1), np.array([1.0, 2, 3]), np.array([0]))
    assert found.tolist() == [5, 3, 0]


def test_one_hot_has_no_place_for_what_is_out_of_range():
    """One hot has no place for what is out of range."""
    found = dense.one_hot(call(), np.array([1, -1, 7]), np.array([3]), np.array([0.0, 1.0]))
    assert found.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_dynamic_quantize_linear():
    """Dynamic quantize linear."""
    y, scale, zero = dense.dynamic_quantize_linear(call(), np.array([-1.0, 0, 4.1]))
    assert (y.tolist(), float(scale), int(zero)) == ([0, 50, 255], 5.1 / 255, 50)


def test_what_is_refused():
    """What is refused."""
    with pytest.raises(NotImplementedError):
        dense.refuse(call(), X)
