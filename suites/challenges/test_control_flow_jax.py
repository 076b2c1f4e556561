"""JAX functions that decide by values or loop over a dynamic length: broken forms are refused, sound forms pass."""

import pytest

from pytest_onnxprep import ExportFailed, onnx_export, parity

jax = pytest.importorskip("jax")
pytest.importorskip("jax2onnx")

import jax.numpy as jnp  # noqa: E402

ROWS = {"inputs": {"x": "float32[rows, 4]"}, "dims": {"rows": (1, 8)}}


def build_cond():
    return jax.jit(lambda x: jax.lax.cond(x.max() > 0, lambda x: x * 2, lambda x: x - 1, x))


def build_while_loop():
    def function(x):
        total = jax.lax.while_loop(lambda total: total < 100, lambda total: total * 2, jnp.abs(x).sum() + 1)
        return x / total

    return jax.jit(function)


def build_scan():
    def step(state, row):
        state = jnp.tanh(state + row)
        return state, state

    return jax.jit(lambda x: jax.lax.scan(step, jnp.zeros(4), x)[1])


def build_python_if():
    return lambda x: jnp.sin(x) if x.max() > 0 else x - 1


def build_python_for():
    def function(x):
        state = jnp.zeros(4)
        for row in range(x.shape[0]):
            state = jnp.tanh(state + x[row])
        return state

    return function


def build_size_branch():
    return lambda x: jnp.sin(x) if x.shape[0] > 4 else x - 1


@onnx_export(build_cond, **ROWS)
@parity()
def test_cond(onnx_model):
    assert onnx_model.operators["If"] == 1


@onnx_export(build_while_loop, **ROWS)
@parity()
def test_while_loop(onnx_model):
    assert onnx_model.operators["Loop"] == 1


@onnx_export(build_scan, **ROWS)
@parity()
def test_scan(onnx_model):
    assert {"Scan", "Loop"} & set(onnx_model.operators)


def test_python_if(onnx_exporter):
    """JAX traces by shape alone; the message names the line and the remedy."""
    with pytest.raises(ExportFailed, match=r"(?s)branches on values.*jax\.lax\.cond.*x\.max\(\) > 0"):
        onnx_exporter(build_python_if, **ROWS)


def test_python_for(onnx_exporter):
    """The length is a symbol, which Python cannot count to."""
    with pytest.raises(ExportFailed, match=r"(?s)range\(x\.shape\[0\]\)"):
        onnx_exporter(build_python_for, **ROWS)


def test_branch_on_a_size(onnx_exporter):
    """Both answers lie in the declared range, so neither is taken silently."""
    with pytest.raises(ExportFailed, match=r"(?s)'rows' > '4' is inconclusive.*narrow it in dims="):
        onnx_exporter(build_size_branch, **ROWS)
