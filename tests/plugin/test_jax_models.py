"""JAX in a user's tests: guessed at collection, checked end to end, refused in words."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("jax2onnx")

JAX = """
import jax, jax.numpy as jnp

def build_jax():
    weight = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)).astype("float32"))
    return jax.jit(lambda x: jax.nn.softmax(x @ weight))
"""


def test_a_function_from_export_to_parity(story: Any) -> None:
    """The exporter is in the name of the item before the model is built, and parity is judged without numbers."""
    outcome = story(
        JAX
        + """
@onnx_export(build_jax, inputs=X)
@parity()
@size_budget(mb=0.01)
def test_x(onnx_model):
    assert onnx_model.variant.exporter == "jax2onnx"
"""
    )

    assert set(outcome.verdicts) == {f"test_x[jax2onnx-opset23-{check}]" for check in ("export", "parity", "size")}
    assert outcome.counts() == {"pass": 3}


def test_a_bug_of_the_converter_is_found_and_located(story: Any) -> None:
    """jax.nn.one_hot(-1) is zeros, the exported OneHot counts from the end."""
    outcome = story(
        JAX
        + """
@onnx_export(lambda: lambda x: jax.nn.one_hot(x, 4), inputs={"x": TensorSpec("int32", "n", low=-1, high=4)})
@parity()
def test_x(onnx_model):
    pass
"""
    )

    assert outcome.verdict("parity") == "fail"
    assert "OneHot" in outcome.text


def test_a_dtype_that_jax_would_narrow(story: Any) -> None:
    """A float64 model is a float64 file, and agrees to float64."""
    outcome = story(
        JAX
        + """
@onnx_export(lambda: lambda x: jnp.sin(x) * 3, inputs={"x": "float64[n]"}, outputs={"y": "float64[n]"})
@parity(atol=1e-12, rtol=1e-12)
def test_x(onnx_model):
    pass
"""
    )

    assert outcome.counts() == {"pass": 2}


def test_a_random_file_of_a_function_that_repeats_itself(story: Any) -> None:
    """A fixed key drops the same elements at every call, and others in float64: the file is run twice all the same."""
    pytest.importorskip("equinox")
    outcome = story(
        JAX
        + """
import equinox as eqx

def build_dropout():
    dropout, key = eqx.nn.Dropout(0.5), jax.random.key(0)
    return jax.vmap(lambda x: dropout(x * 2, key=key))

@onnx_export(build_dropout, inputs={"x": "float32[n, 4]"})
@parity()
def test_x(onnx_model):
    pass
"""
    )

    assert outcome.verdict("parity") == "fail"
    assert "two runs of the file on one input differ" in outcome.text


def test_jax2onnx_is_missing(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken environment is no failure of the model, and the extra is named."""
    import sys

    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    outcome = story(JAX + "@onnx_export(build_jax, inputs=X)\ndef test_x(onnx_model):\n    pass\n", cache=False)

    assert outcome.verdict("export") == "error"
    assert "pip install 'pytest-onnxprep[jax]'" in outcome.text
