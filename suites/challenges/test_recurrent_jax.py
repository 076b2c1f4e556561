"""Recurrent networks in JAX: the state as an input and an output, and a module that keeps it to itself."""

import pytest

from pytest_onnxprep import ExportFailed, onnx_export, parity

jax = pytest.importorskip("jax")
pytest.importorskip("jax2onnx")
nnx = pytest.importorskip("flax.nnx")
linen = pytest.importorskip("flax.linen")

import jax.numpy as jnp  # noqa: E402

STEP = {
    "inputs": {"carry.0": "float32[batch, 8]", "carry.1": "float32[batch, 8]", "x": "float32[batch, 4]"},
    "dims": {"batch": (1, 4)},
}


def build_step():
    """One step of an LSTM, from a state to the next."""
    cell = nnx.LSTMCell(4, 8, rngs=nnx.Rngs(0))
    return lambda carry, x: cell(carry, x)


@onnx_export(build_step, **STEP)
@parity()
def test_state_in_and_out(onnx_model):
    assert [value.name for value in onnx_model.proto.graph.input] == list(STEP["inputs"])


class Walk(nnx.Module):
    """An LSTM over a whole signal, from a given state."""

    def __init__(self, rngs):
        self.cell = nnx.LSTMCell(4, 8, rngs=rngs)

    def __call__(self, carry, signal):
        def step(carry, row):
            carry, output = self.cell(carry, row)
            return carry, output

        carry, outputs = jax.lax.scan(step, carry, jnp.swapaxes(signal, 0, 1))
        return carry, jnp.swapaxes(outputs, 0, 1)


@onnx_export(
    lambda: Walk(nnx.Rngs(0)),
    inputs={"carry.0": "float32[batch, 8]", "carry.1": "float32[batch, 8]", "signal": "float32[batch, seq, 4]"},
    dims={"batch": (1, 4), "seq": (1, 12)},
)
@parity()
def test_initial_state_of_a_scan(onnx_model):
    assert {"Loop", "Scan"} & set(onnx_model.operators)


SIGNAL = {"inputs": {"signal": "float32[batch, seq, 4]"}, "dims": {"batch": (1, 2), "seq": (1, 4)}}


def build_rnn():
    """Flax's own walk over a signal."""
    return nnx.RNN(nnx.GRUCell(4, 8, rngs=nnx.Rngs(0)))


def build_linen_rnn():
    layer = linen.RNN(linen.LSTMCell(8))
    return layer, layer.init(jax.random.key(0), jnp.zeros((1, 3, 4)))


def build_gru_walk():
    """The same as `build_rnn` by `lax.scan`, which any length goes through."""
    cell = nnx.GRUCell(4, 8, rngs=nnx.Rngs(0))

    def walk(signal):
        start = jnp.zeros((signal.shape[0], 8))
        return jnp.swapaxes(jax.lax.scan(cell, start, jnp.swapaxes(signal, 0, 1))[1], 0, 1)

    return jax.jit(walk)


def build_linen_walk():
    """The same as `build_linen_rnn`: the cell's own variables lie under `cell`."""
    cell, (_, variables) = linen.LSTMCell(8), build_linen_rnn()
    weights = {"params": variables["params"]["cell"]}

    def walk(signal):
        start = (jnp.zeros((signal.shape[0], 8)),) * 2
        steps = jnp.swapaxes(signal, 0, 1)
        return jnp.swapaxes(jax.lax.scan(lambda *step: cell.apply(weights, *step), start, steps)[1], 0, 1)

    return jax.jit(walk)


@pytest.mark.xfail(
    strict=True,
    raises=ExportFailed,
    reason="jax2onnx 0.17.1 with Flax 0.12.8: nnx.RNN counts its random numbers (TraceContextError: Cannot mutate "
    "RngCount), linen.RNN asks for shapes that are traced (Shapes must be 1D sequences of concrete values)",
)
@pytest.mark.parametrize("build", [build_rnn, build_linen_rnn])
def test_rnn_of_flax(onnx_exporter, build):
    onnx_exporter(build, **SIGNAL)


@onnx_export(build_rnn, **SIGNAL, options={"rewritten": build_gru_walk})
@parity(max_examples=10)
def test_rnn_of_nnx_rewritten_as_a_scan(onnx_model):
    assert {"Loop", "Scan"} & set(onnx_model.operators)


@onnx_export(build_linen_rnn, **SIGNAL, options={"rewritten": build_linen_walk})
@parity(max_examples=10)
def test_rnn_of_linen_rewritten_as_a_scan(onnx_model):
    assert {"Loop", "Scan"} & set(onnx_model.operators)


class Stateful(nnx.Module):
    """A counter that every call moves on."""

    def __init__(self):
        self.total = nnx.Variable(jnp.zeros(4))

    def __call__(self, x):
        self.total[...] = self.total[...] + x.sum(axis=0)
        return x + self.total[...]


def test_state_kept_inside_is_refused(onnx_exporter):
    with pytest.raises(ExportFailed, match=r"changes its own state(?s:.*)test_recurrent_jax\.py"):
        onnx_exporter(Stateful, inputs={"x": "float32[batch, 4]"})
