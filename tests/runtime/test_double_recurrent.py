"""LSTM, GRU and RNN against torch in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.runtime.double_call import Call
from pytest_onnxprep.runtime.double_recurrent import gru, lstm, rnn

torch = pytest.importorskip("torch")
TIMES, BATCH, FEATURES, HIDDEN = 5, 3, 4, 2
#: Where ONNX has torch's gates.
GATES = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}
FUNCTIONS = {"LSTM": lstm, "GRU": gru, "RNN": rnn}


def pair(kind, directions):
    """A module of torch's and the same weights in ONNX's order."""
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(FEATURES, HIDDEN, bidirectional=directions == 2).double()

    def gathered(name):
        own = [getattr(module, f"{name}_l0{end}").detach().numpy() for end in ("", "_reverse")[:directions]]
        return np.stack(
            [np.concatenate([np.split(each, len(GATES[kind]))[gate] for gate in GATES[kind]]) for each in own]
        )

    b = np.concatenate([gathered("bias_ih"), gathered("bias_hh")], axis=1)
    return module, (gathered("weight_ih"), gathered("weight_hh"), b)


def states(kind, directions):
    """Initial states."""
    rng = np.random.default_rng(1)
    return [rng.standard_normal((directions, BATCH, HIDDEN)) for _ in range(2 if kind == "LSTM" else 1)]


def call(kind, directions, **attributes):
    """How a node is called."""
    direction = {1: "forward", 2: "bidirectional"}[directions]
    reset = {"linear_before_reset": 1} if kind == "GRU" else {}
    return Call({"direction": direction, **reset, **attributes}, 20, outputs=3 if kind == "LSTM" else 2)


X = np.random.default_rng(0).standard_normal((TIMES, BATCH, FEATURES))


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("directions", [1, 2])
def test_agrees_with_torch(kind, directions):
    """Agrees with torch."""
    module, weights = pair(kind, directions)
    initial = states(kind, directions)
    start = tuple(map(torch.from_numpy, initial))
    expected, last = module(torch.from_numpy(X), start if kind == "LSTM" else start[0])
    y, *finals = FUNCTIONS[kind](call(kind, directions), X, *weights, None, *initial)
    assert np.abs(np.concatenate(list(y.swapaxes(0, 1)), axis=2) - expected.detach().numpy()).max() < 1e-15
    for found, wanted in zip(finals, last if kind == "LSTM" else [last], strict=True):
        assert np.abs(found - wanted.detach().numpy()).max() < 1e-15


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_each_sequence_ends_at_its_own_length(kind):
    """Each sequence ends at its own length."""
    _, weights = pair(kind, 2)
    lengths = np.int32([5, 2, 3])
    y, h, *_ = FUNCTIONS[kind](call(kind, 2), X, *weights, lengths)
    for at, length in enumerate(lengths):
        alone, final, *_ = FUNCTIONS[kind](call(kind, 2), X[:length, at : at + 1], *weights)
        assert np.allclose(y[:length, :, at], alone[:, :, 0], rtol=0, atol=1e-15)
        assert np.allclose(h[:, at], final[:, 0], rtol=0, atol=1e-15)
        assert not y[length:, :, at].any()


def test_reverse_is_forward_on_the_reversed():
    """Reverse is forward on the reversed."""
    _, weights = pair("LSTM", 1)
    forward = lstm(call("LSTM", 1), X[::-1], *weights)[0]
    assert np.array_equal(lstm(call("LSTM", 1, direction="reverse"), X, *weights)[0], forward[::-1])


def test_batch_first():
    """Batch first."""
    _, weights = pair("GRU", 2)
    y, h = gru(call("GRU", 2), X, *weights)
    y_first, h_first = gru(call("GRU", 2, layout=1), X.swapaxes(0, 1), *weights)
    assert np.array_equal(y_first, y.transpose(2, 0, 1, 3))
    assert np.array_equal(h_first, h.swapaxes(0, 1))


def test_reset_before_the_product():
    """Reset before the product."""
    _, (w, r, b) = pair("GRU", 1)
    h = states("GRU", 1)[0]
    y, _ = gru(call("GRU", 1, linear_before_reset=0), X[:1], w, r, b, None, h)
    given, own = X[0] @ w[0].T + b[0, :6], b[0, 6:]
    update, reset = np.split(1 / (1 + np.exp(-(given[:, :4] + h[0] @ r[0, :4].T + own[:4]))), 2, axis=1)
    new = np.tanh(given[:, 4:] + (reset * h[0]) @ r[0, 4:].T + own[4:])
    assert np.abs(y[0, 0] - ((1 - update) * new + update * h[0])).max() < 1e-15


def test_other_activations_take_their_numbers_in_turn():
    """Other activations take their numbers in turn."""
    _, weights = pair("RNN", 2)
    attributes = {"activations": ["Affine", "LeakyRelu"], "activation_alpha": [2.0, 0.5], "activation_beta": [1.0]}
    y, _ = rnn(call("RNN", 2, **attributes), X[:1], *weights)
    w, _, b = weights
    plain = [X[0] @ w[at].T + b[at, :2] + b[at, 2:] for at in range(2)]
    assert np.allclose(y[0, 0], 2 * plain[0] + 1, rtol=0, atol=1e-15)
    assert np.allclose(y[0, 1], np.where(plain[1] < 0, plain[1] / 2, plain[1]), rtol=0, atol=1e-15)


def test_clipped_before_the_activation():
    """Clipped before the activation."""
    _, weights = pair("RNN", 1)
    y, _ = rnn(call("RNN", 1, clip=0.1), 100 * X, *weights)
    assert np.abs(y).max() == np.tanh(0.1)


def test_coupled_gates_forget_what_they_do_not_let_in():
    """Coupled gates forget what they do not let in."""
    _, weights = pair("LSTM", 1)
    _, _, c = lstm(call("LSTM", 1, input_forget=1), X, *weights, None, None, np.full((1, BATCH, HIDDEN), 5.0))
    w, r, b = (array.copy() for array in weights)
    assert c.shape == (1, BATCH, HIDDEN)
    b[0, :2] = -500  # nothing in, everything kept
    kept = lstm(call("LSTM", 1, input_forget=1), X, w, r, b, None, None, np.full((1, BATCH, HIDDEN), 5.0))[2]
    assert (kept == 5).all()


def test_peepholes_see_the_cell():
    """Peepholes see the cell."""
    _, weights = pair("LSTM", 1)
    cell, peepholes = np.ones((1, BATCH, HIDDEN)), np.zeros((1, 3 * HIDDEN))
    peepholes[0, 2 * HIDDEN :] = -500  # the forget gate closes when it sees a cell
    closed = lstm(call("LSTM", 1), X[:1], *weights, None, None, cell, peepholes)[2]
    assert np.allclose(closed, lstm(call("LSTM", 1), X[:1], *weights)[2], rtol=0, atol=1e-15)
