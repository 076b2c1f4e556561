"""JAX functions that decide by values or loop over a dynamic length: broken forms are refused, sound forms pass."""

import pytest

from pytest_onnxprep import ContractViolation, ExportFailed, onnx_export, parity

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


def build_fori_loop():
    return jax.jit(
        lambda x: jax.lax.fori_loop(0, x.shape[0], lambda row, state: jnp.tanh(state + x[row]), jnp.zeros(4))
    )


def build_fori_loop_of_three():
    """A number of turns; what it reads is carried, not closed over."""
    return jax.jit(
        lambda x: jax.lax.fori_loop(0, 3, lambda _, loop: (jnp.tanh(loop[0] + loop[1][0]), loop[1]), (x[0], x))[0]
    )


def build_fori_as_while():
    """The same loop, its length in the condition."""

    def going_on(loop):
        return loop[0] < loop[2].shape[0]

    def step(loop):
        row, state, x = loop
        return row + 1, jnp.tanh(state + x[row]), x

    return jax.jit(lambda x: jax.lax.while_loop(going_on, step, (0, jnp.zeros(4), x))[1])


def build_spectrum():
    return jax.jit(lambda x: jnp.abs(jnp.fft.rfft(x)))


def build_complex():
    return jax.jit(lambda x: jnp.real((x + 1j * x) * (x - 2j)))


def build_spectrum_by_matrices():
    def function(x):
        angles = 2 * jnp.pi / 4 * jnp.outer(jnp.arange(4.0), jnp.arange(3.0))
        return jnp.sqrt((x @ jnp.cos(angles)) ** 2 + (x @ jnp.sin(angles)) ** 2)

    return jax.jit(function)


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


@pytest.mark.xfail(
    strict=True,
    raises=ExportFailed,
    reason="jax2onnx 0.17.1 compares the bounds of fori_loop as numbers (InconclusiveDimensionOperation)",
)
def test_fori_loop_over_a_dynamic_length(onnx_exporter):
    onnx_exporter(build_fori_loop, **ROWS)


@onnx_export(build_fori_loop_of_three, **ROWS)
@parity()
def test_fori_loop_of_a_number(onnx_model):
    assert onnx_model.operators["Loop"] == 1


@onnx_export(build_fori_loop, **ROWS, options={"rewritten": build_fori_as_while})
@parity()
def test_fori_loop_as_while_loop(onnx_model):
    assert onnx_model.operators["Loop"] == 1


@pytest.mark.xfail(
    strict=True,
    raises=(ContractViolation, ExportFailed),
    reason="jax2onnx 0.17.1 has no complex numbers: rfft adds an axis to the input, a cast to complex does not load",
)
@pytest.mark.parametrize("build", [build_spectrum, build_complex])
def test_complex_numbers(onnx_exporter, build):
    onnx_exporter(build, **ROWS)


@onnx_export(build_spectrum, **ROWS, options={"rewritten": build_spectrum_by_matrices})
@parity()
def test_complex_numbers_as_pairs(onnx_model):
    assert onnx_model.operators["Sqrt"] == 1


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
