"""LSTM, GRU and RNN in numpy: every direction, layout and activation, sequences of different lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pytest_onnxprep.runtime.double_call import Call

Activation = Callable[[np.ndarray], np.ndarray]
Step = Callable[[np.ndarray, tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function; an overflow of ``exp`` is the right 0."""
    return np.asarray(1 / (1 + np.exp(-x)))


#: Name -> the function of (x, alpha, beta), and the defaults of alpha and beta where it has them.
_ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray, float, float], np.ndarray], tuple[float, ...]]] = {
    "sigmoid": (lambda x, _a, _b: sigmoid(x), ()),
    "tanh": (lambda x, _a, _b: np.tanh(x), ()),
    "relu": (lambda x, _a, _b: np.maximum(x, 0), ()),
    "softsign": (lambda x, _a, _b: x / (1 + np.abs(x)), ()),
    "softplus": (lambda x, _a, _b: np.logaddexp(0, x), ()),
    "affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "leakyrelu": (lambda x, a, _b: np.where(x < 0, a * x, x), (0.01,)),
    "thresholdedrelu": (lambda x, a, _b: np.where(x > a, x, 0), (1.0,)),
    "elu": (lambda x, a, _b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x), (1.0,)),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), (1.0, 1.0)),
    "hardsigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), (0.2, 0.5)),
}


def lstm(
    call: Call,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    initial_h: np.ndarray | None = None,
    initial_c: np.ndarray | None = None,
    p: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """LSTM, with peepholes and coupled gates."""
    coupled = call.flag("input_forget")

    def make_step(direction: int, recurrent: np.ndarray, _bias: np.ndarray, acts: list[Activation]) -> Step:
        f, g, h = acts
        peep_i, peep_o, peep_f = np.split(p[direction], 3) if p is not None else (0.0, 0.0, 0.0)

        def step(gates: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            hidden, cell = state
            i, o, forget, c = np.split(gates + hidden @ recurrent, 4, axis=-1)
            i = f(i + peep_i * cell)
            forget = 1 - i if coupled else f(forget + peep_f * cell)
            cell = forget * cell + i * g(c)
            return f(o + peep_o * cell) * h(cell), cell

        return step

    defaults = ["Sigmoid", "Tanh", "Tanh"]
    return _recur(call, defaults, make_step, (x, w, r, b), lengths, [initial_h, initial_c], inner_bias=False)


def gru(
    call: Call,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    initial_h: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """GRU, its reset gate applied before or after the recurrent product."""
    after = call.flag("linear_before_reset")

    def make_step(_direction: int, recurrent: np.ndarray, bias: np.ndarray, acts: list[Activation]) -> Step:
        f, g = acts
        size = recurrent.shape[0]
        gate_weights, weights = recurrent[:, : 2 * size], recurrent[:, 2 * size :]
        gate_bias, hidden_bias = bias[: 2 * size], bias[2 * size :]

        def step(gates: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
            hidden = state[0]
            update, reset = np.split(f(gates[:, : 2 * size] + hidden @ gate_weights + gate_bias), 2, axis=-1)
            inner = reset * (hidden @ weights + hidden_bias) if after else (reset * hidden) @ weights + hidden_bias
            new = g(gates[:, 2 * size :] + inner)
            return ((1 - update) * new + update * hidden,)

        return step

    return _recur(call, ["Sigmoid", "Tanh"], make_step, (x, w, r, b), lengths, [initial_h], inner_bias=True)


def rnn(
    call: Call,
    x: np.ndarray,
    w: np.ndarray,
    r: np.ndarray,
    b: np.ndarray | None = None,
    lengths: np.ndarray | None = None,
    initial_h: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """RNN."""

    def make_step(_direction: int, recurrent: np.ndarray, _bias: np.ndarray, acts: list[Activation]) -> Step:
        return lambda gates, state: (acts[0](gates + state[0] @ recurrent),)

    return _recur(call, ["Tanh"], make_step, (x, w, r, b), lengths, [initial_h], inner_bias=False)


def _recur(
    call: Call,
    defaults: list[str],
    make_step: Callable[[int, np.ndarray, np.ndarray, list[Activation]], Step],
    operands: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None],
    lengths: np.ndarray | None,
    initial: list[np.ndarray | None],
    *,
    inner_bias: bool,
) -> tuple[np.ndarray, ...]:
    """Run every direction; ``inner_bias`` leaves the recurrent half of the bias to the step.

    Raises:
        ValueError: the weights are those of another number of directions.
    """
    x, w, r, b = operands
    batch_first = call.flag("layout")
    if batch_first:
        x = x.swapaxes(0, 1)
        initial = [None if state is None else state.swapaxes(0, 1) for state in initial]
    directions, size = r.shape[0], r.shape[2]
    activations = list(_activations(call, defaults, directions))
    backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[call.get("direction", "forward")]
    if len(backward) != directions:
        raise ValueError(f"weights of {directions} directions for {len(backward)}")
    sequences, lasts = [], []
    for at, reverse in enumerate(backward):
        bias = np.zeros(w.shape[1]) if b is None else b[at, : w.shape[1]]
        recurrent_bias = np.zeros(w.shape[1]) if b is None else b[at, w.shape[1] :]
        given = x @ w[at].T + (bias if inner_bias else bias + recurrent_bias)
        step = make_step(at, r[at].T, recurrent_bias, activations[at])
        start = [np.zeros((x.shape[1], size)) if state is None else state[at] for state in initial]
        sequence, last = _unroll(given, step, tuple(start), lengths, reverse)
        sequences.append(sequence)
        lasts.append(last)
    y = np.stack(sequences, axis=1)
    finals = [np.stack([last[number] for last in lasts]) for number in range(len(initial))]
    if batch_first:
        y, finals = y.transpose(2, 0, 1, 3), [state.swapaxes(0, 1) for state in finals]
    return (y, *finals)[: call.outputs]


def _unroll(
    given: np.ndarray, step: Step, state: tuple[np.ndarray, ...], lengths: np.ndarray | None, reverse: bool
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    times, batch = given.shape[:2]
    if lengths is None:
        lengths = np.full(batch, times)
    ragged = bool((lengths < times).any())
    order = np.broadcast_to(np.arange(times)[:, None], (times, batch))
    if reverse:
        order = np.where(order < lengths, lengths - 1 - order, order)
        given = np.take_along_axis(given, order[:, :, None], axis=0)
    sequence = np.zeros((times, *state[0].shape))
    for time in range(times):
        new = step(given[time], state)
        if ragged:
            alive = (time < lengths)[:, None]
            new = tuple(np.where(alive, after, before) for after, before in zip(new, state, strict=True))
            sequence[time] = np.where(alive, new[0], 0)
        else:
            sequence[time] = new[0]
        state = new
    if reverse:
        sequence = np.take_along_axis(sequence, order[:, :, None], axis=0)
    return sequence, state


def _activations(call: Call, defaults: list[str], directions: int) -> Iterator[list[Activation]]:
    names = call.get("activations", None) or defaults * directions
    alphas, betas = iter(call.get("activation_alpha", [])), iter(call.get("activation_beta", []))
    clip = call.get("clip", None)
    made: list[Activation] = []
    for number, name in enumerate(names):
        function, own = _ACTIVATIONS[name.lower()]
        alpha = next(alphas, own[0]) if own else 0.0
        beta = next(betas, own[1]) if len(own) > 1 else 0.0
        of_cell = number % len(defaults) == 2  # which ONNX Runtime does not clip
        made.append(_activation(function, alpha, beta, None if of_cell else clip))
    for at in range(directions):
        yield made[at * len(defaults) : (at + 1) * len(defaults)]


def _activation(
    function: Callable[[np.ndarray, float, float], np.ndarray], alpha: float, beta: float, clip: float | None
) -> Activation:
    if clip is None or clip <= 0:
        return lambda x: function(x, alpha, beta)
    return lambda x: function(np.clip(x, -clip, clip), alpha, beta)
