"""The framework's own model in float64."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

X = Signature({"x": TensorSpec("float32", "batch, 4")})
FEEDS = {"x": np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)}


def apart(source, signature=X, feeds=FEEDS):
    """The dtype in float64, and how far that is from float32, relative to the largest value."""
    single, double = source.run(feeds, signature)["output"], source.in_double(signature)(feeds)["output"]
    return double.dtype.name, float(np.abs(single - double).max() / np.abs(double).max())


def torch_source(function, *parts):
    """A module around a function of x and submodules."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = torch.nn.ModuleList(parts)

        def forward(self, x):
            return function(x, *self.parts)

    return load_source(lambda: Module().eval())


def test_torch():
    """Weights and inputs are widened, and the result differs by rounding only."""
    import torch

    torch.manual_seed(0)
    kind, error = apart(torch_source(lambda x, linear: linear(x).tanh(), torch.nn.Linear(4, 3)))

    assert kind == "float64"
    assert 0 < error < 1e-6


def test_dtypes_named_in_the_code_are_widened():
    """x.float() and factories with a dtype leave no single precision behind."""
    import torch

    kind, error = apart(
        torch_source(lambda x: (x.float() + torch.full((4,), 0.1, dtype=torch.float32)).to(torch.float16).exp())
    )

    assert kind == "float64"
    assert error > 1e-4  # the float16 of the model is its own rounding


def test_the_users_model_is_untouched():
    """Weights keep their dtype, and random state and default dtype theirs."""
    import torch

    source = torch_source(lambda x, linear: linear(x) + torch.rand(1), torch.nn.Linear(4, 3))
    state = torch.random.get_rng_state()
    source.in_double(X)(FEEDS)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_default_dtype() is torch.float32
    assert source.model.parts[0].weight.dtype is torch.float32


def test_bits_have_no_double():
    """A module that reinterprets bits gets no verdict."""
    import torch

    assert torch_source(lambda x: x.view(torch.int32).float()).in_double(X)(FEEDS) is None


def test_torchscript():
    """A scripted module is widened as well."""
    import torch

    source = load_source(lambda: torch.jit.script(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh()).eval()))

    assert apart(source)[0] == "float64"


@pytest.mark.parametrize("build", ["build_two_tower", "build_bilstm", "build_power_iteration"])
def test_tensorflow(build):
    """Keras models and tf.functions, loops and their functions included."""
    from model_zoo import keras_models, tf_functions
    from pytest_onnxprep.fuzz.example import Maker

    source = load_source(getattr(keras_models, build, None) or getattr(tf_functions, build))
    signature = source.derived_signature()
    maker = Maker(signature)
    feeds = maker.feeds(maker.plain(signature.trace_sizes()))
    single, double = source.run(feeds, signature), source.in_double(signature)(feeds)

    for name, value in double.items():
        assert value.dtype == np.float64
        assert np.allclose(value, single[name], rtol=1e-4, atol=1e-5)
        assert not np.array_equal(value, single[name])


def test_fused_normalisation_of_tensorflow():
    """TensorFlow's fused kernel has float32 statistics only, so it is written out."""
    import tensorflow as tf

    def build():
        scale, offset, mean, variance = (tf.constant(np.linspace(low, 2, 3), tf.float32) for low in (0.5, -1, 0, 0.1))

        @tf.function(input_signature=[tf.TensorSpec([None, 2, 2, 3], tf.float32, name="x")])
        def normalise(x):
            return tf.compat.v1.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)[0]

        return normalise

    x = np.random.default_rng(0).normal(size=(2, 2, 2, 3)).astype("float32")
    kind, error = apart(load_source(build), Signature({"x": TensorSpec("float32", "batch, 2, 2, 3")}), {"x": x})

    assert kind == "float64"
    assert 0 < error < 1e-6


def test_an_onnx_file(tmp_path):
    """The graph itself is widened."""
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "output")]
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["output"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")

    kind, error = apart(load_source(tmp_path / "m.onnx"))

    assert kind == "float64"
    assert error < 1e-6


def spread(source, x, signature=X, seeds=range(16)):
    """How far other roundings of the same program are from float64."""
    double = source.in_double(signature)
    feeds = {"x": np.asarray(x, np.float32)}
    exact = double(feeds)["output"]
    with np.errstate(invalid="ignore"):
        return [np.abs(double.rounded(feeds, seed)["output"] - exact).max() for seed in seeds]


def distances(x):
    """Between rows, by their scalar products."""
    import torch

    squares = (x * x).sum(-1)
    return torch.sqrt((squares[:, None] + squares[None] - 2 * x @ x.T).clamp(min=0))


NORMAL = np.random.default_rng(0).standard_normal((3, 4))


def test_rounding_shows_what_a_framework_hides_by_luck():
    """The distance of a row to itself is exactly 0 on some processors and a rounding on others; it may be either."""
    source = torch_source(distances)
    widest = max(spread(source, NORMAL))

    assert 1e-4 < widest < 1e-2
    assert np.abs(source.run({"x": NORMAL.astype(np.float32)}, X)["output"].diagonal()).max() <= widest


def test_rounding_is_of_ordinary_size():
    """A well-conditioned program moves by a few epsilons."""
    import torch

    torch.manual_seed(0)
    found = spread(torch_source(lambda x, linear: linear(x).tanh(), torch.nn.Linear(4, 3)), NORMAL)

    assert 0 < max(found) < 8 * 2.0**-23


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.clone().add_(1).mul_(2)[:, ::2],
        lambda x: (x == x.amax(-1, keepdim=True)).float() * x,
        lambda x: x.sort(-1).values.cumsum(-1),
        lambda x: (x @ x.T) / 4,
    ],
    ids=["in place and views", "equality", "sums", "products"],
)
def test_what_is_exact_stays_exact(function):
    """Small whole numbers do not round, in any order."""
    assert max(spread(torch_source(function), np.arange(8).reshape(2, 4) - 3)) == 0


def test_underflow():
    """A norm below the smallest normal number may be zero."""
    found = spread(torch_source(lambda x: x / x.norm(dim=-1, keepdim=True)), np.full((1, 4), 1e-39))

    assert not np.isfinite(found[0])


def test_rounding_leaves_the_random_state():
    """Every rounding draws from a generator of its own."""
    import torch

    source = torch_source(distances)
    double, before = source.in_double(X), torch.random.get_rng_state()
    double.rounded(FEEDS, 1)

    assert torch.equal(before, torch.random.get_rng_state())


def test_rounding_of_tensorflow_graphs():
    """The same in a graph; what is exact stays exact."""
    import tensorflow as tf

    def build():
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def distances(x):
            squares = tf.reduce_sum(x * x, 1)
            return tf.sqrt(tf.maximum(squares[:, None] + squares[None] - 2.0 * tf.matmul(x, x, transpose_b=True), 0.0))

        return distances

    source = load_source(build)

    assert 1e-4 < max(spread(source, NORMAL)) < 1e-2
    assert max(spread(source, [[0, 3, 0, 4], [0, 0, 0, 0]])) == 0
