"""JAX functions, Flax and Equinox modules as sources: recognised, called, fingerprinted, widened, traced."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

jax = pytest.importorskip("jax")
nnx = pytest.importorskip("flax.nnx")
linen = pytest.importorskip("flax.linen")
eqx = pytest.importorskip("equinox")

import jax.numpy as jnp  # noqa: E402

from pytest_onnxprep.errors import ReferenceRefused, SourceError  # noqa: E402
from pytest_onnxprep.sources.custody import untouched  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.sources.trace import Limits  # noqa: E402
from pytest_onnxprep.spec.signature import Signature  # noqa: E402
from pytest_onnxprep.spec.tensor import TensorSpec  # noqa: E402

X = Signature({"x": TensorSpec("float32", "batch, 4")})
#: A busy machine may take its time: what is traced is tested, not how fast.
PATIENT = Limits(max_s=120)
FEEDS = {"x": np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)}
WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def function(value=1.0):
    """A function of an array in its closure."""
    weight = jnp.asarray(WEIGHT * value)
    return lambda x: jnp.tanh(x @ weight)


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.norm(nnx.relu(self.first(x))))


def flax_nnx(value=1.0, train=False):
    """Running statistics, a dropout and its random state."""
    net = Net(nnx.Rngs(0))
    net.first.kernel.set_value(net.first.kernel.get_value() * value)
    if not train:
        net.eval()
    return net


class Dense(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.LayerNorm()(linen.Dense(3)(x))


def flax_pair(value=1.0):
    """A linen module and its variables."""
    module = Dense()
    return module, jax.tree_util.tree_map(lambda a: a * value, module.init(jax.random.key(0), jnp.ones((2, 4))))


def flax_bound(value=1.0):
    """A linen module that holds its variables."""
    module, variables = flax_pair(value)
    return module.bind(variables)


class Mlp(eqx.Module):
    mlp: eqx.nn.MLP

    def __call__(self, x):
        return jax.vmap(self.mlp)(x)


def equinox(value=1.0):
    """An Equinox module."""
    mlp = eqx.nn.MLP(4, 3, 8, 1, key=jax.random.key(0))
    return Mlp(jax.tree_util.tree_map(lambda a: a * value if eqx.is_array(a) else a, mlp))


BUILDS = [function, flax_nnx, flax_pair, flax_bound, equinox]
LABELS = ["<lambda> (JAX function)", "Net (flax.nnx.Module)", *["Dense (flax.linen.Module)"] * 2]
LABELS += ["Mlp (equinox.Module)"]


@pytest.mark.parametrize(("build", "label"), list(zip(BUILDS, LABELS, strict=True)))
def test_kinds_of_models(build, label):
    """Each is recognised, runs, and is told by its name."""
    source = load_source(build)

    assert (source.framework, source.label) == ("jax", label)
    assert source.run(FEEDS, X)["output"].shape == (2, 3)
    assert source.derived_signature() is None


@pytest.mark.parametrize(
    "wrap",
    [jax.jit, lambda f: jax.vmap(f), lambda f: functools.partial(lambda w, x: f(x) * w["w"], {"w": jnp.ones(3)})],
    ids=["jit", "vmap", "partial"],
)
def test_functions_in_other_forms(wrap):
    """Transformed and partial functions are functions."""
    assert load_source(lambda: wrap(function())).run(FEEDS, X)["output"].shape == (2, 3)


def test_function_given_directly():
    """One that takes arrays is no factory."""
    assert load_source(function()).framework == "jax"
    assert load_source(jax.jit(function())).framework == "jax"


def test_function_of_nobody():
    """Nothing leads from it to JAX, so it is not guessed to be JAX's."""
    with pytest.raises(SourceError, match=r"builtins\.function, which is no model; accepted: .*jax\.jit"):
        load_source(lambda: lambda x: x * 2)


def test_linen_module_without_weights():
    """What to return is told."""
    with pytest.raises(SourceError, match=r"return the pair \(module, variables\), or module\.bind"):
        load_source(Dense)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("p", "q")])
def test_inputs_bind_by_name_else_in_order(names):
    """The names of the parameters bind, others go in order."""
    feeds = {name: np.full(3, value, np.float32) for name, value in zip(names, (1, 2), strict=True)}
    source = load_source(lambda: jax.jit(lambda a, b: a - 10 * b))
    found = source.run(feeds, Signature({name: TensorSpec("float32", "n") for name in names}))["output"]

    assert found.max() == (-8 if names == ("b", "a") else -19)


def test_refusal_is_told_apart():
    """A shape that does not fit is refused by JAX."""
    with pytest.raises(ReferenceRefused, match="TypeError: dot_general requires"):
        load_source(function).run({"x": np.ones((2, 5), np.float32)}, X)


@pytest.mark.parametrize(
    "dtype", ["float64", "int64", "uint64", "float32", "int32", "float16", "bfloat16", "uint8", "bool"]
)
def test_dtypes_are_kept(dtype):
    """64-bit inputs are not narrowed, others give what JAX gives by default, and the switch is as it was."""
    array = np.asarray(jnp.zeros(2)).astype(jnp.dtype(dtype) if dtype == "bfloat16" else dtype)
    source = load_source(lambda: lambda x: {"same": jnp.copy(x), "made": jnp.zeros(2)})
    found = source.run({"x": array}, Signature({"x": TensorSpec(dtype, "n")}))

    assert found["same"].dtype == array.dtype
    assert found["made"].dtype == ("float64" if dtype.endswith("64") else "float32")
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize(
    ("made", "words"),
    [(lambda x: jnp.fft.fft(x), "is complex"), (lambda x: jax.random.key(0), "PRNG key")],
)
def test_outputs_that_onnx_does_not_have(made, words):
    """They are named."""
    with pytest.raises(SourceError, match=words):
        load_source(lambda: made).run(FEEDS, X)


def test_strings():
    """JAX has none."""
    with pytest.raises(SourceError, match="JAX has no strings"):
        load_source(function).run({"x": np.array(["a"])}, Signature({"x": TensorSpec("string", "n")}))


@pytest.mark.parametrize("build", BUILDS)
def test_fingerprint_follows_the_weights(build):
    """Built twice it is the same, before and after a call; other weights are another model."""
    source, again, other = load_source(build), load_source(build), load_source(lambda: build(2.0))
    source.run(FEEDS, X)

    assert source.fingerprint().stable
    assert source.fingerprint() == again.fingerprint()
    assert source.fingerprint() != other.fingerprint()


def test_fingerprint_follows_jitted_helpers():
    """The weights behind a jitted function that the model calls."""

    def build(value):
        helper = jax.jit(function(value))
        return lambda x: helper(x) + jnp.float32(1)

    one, same, other = (load_source(lambda v=v: build(v)).fingerprint() for v in (1.0, 1.0, 2.0))

    assert one.stable
    assert one == same != other


@pytest.mark.parametrize("build", BUILDS)
def test_in_double(build):
    """Widened weights and inputs differ from single precision by rounding only, and the model keeps its own."""
    source = load_source(build)
    single, double = source.run(FEEDS, X)["output"], source.in_double(X)(FEEDS)["output"]

    assert double.dtype == np.float64
    assert 0 < np.abs(single - double).max() < 1e-5
    assert all(str(array.dtype) != "float64" for array in source.weights().values())


def test_in_double_reaches_into_loops_and_branches():
    """Programs inside operators are widened, and dtypes the code names."""

    def loops(x):
        state, steps = jax.lax.scan(lambda c, v: (c * 0.1 + v, c.astype("float16") * 3), jnp.zeros(4), x)
        turned = jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 1.1), (0, state))[1]
        return jax.lax.cond(turned.sum() > 0, jnp.sin, jnp.cos, turned), steps, turned.at[jnp.array([0, 0])].add(0.1)

    source = load_source(lambda: loops)
    single, double = source.run(FEEDS, X), source.in_double(X)(FEEDS)

    assert [value.dtype.name for value in double.values()] == ["float64"] * 3
    assert all(np.allclose(single[name], double[name], rtol=1e-2, atol=1e-5) for name in double)


def test_bits_have_no_double():
    """What reinterprets bits gets no verdict."""
    source = load_source(lambda: lambda x: jax.lax.bitcast_convert_type(x, jnp.int32))

    assert source.in_double(X)(FEEDS) is None


def test_trace_names_weights_layers_and_lines():
    """Every step, with the weight it uses and the user's line, not the library's."""
    trace = load_source(flax_nnx).trace(FEEDS, X, PATIENT)
    product = next(value for value in trace.values if value.operator == "dot_general")

    assert trace.complete
    assert product.where == "first (Linear)"
    assert product.line.startswith("test_jax_source.py:")
    assert "self.first(x)" in product.line
    assert {trace.values[place].name for place in product.inputs} == {"x", "first.kernel"}


def test_trace_keeps_what_is_asked_for():
    """Whole values by their position."""
    source = load_source(function)
    last = len(source.trace(FEEDS, X, PATIENT).values) - 1
    trace = source.trace(FEEDS, X, replace(PATIENT, keep=frozenset({last})))

    assert np.allclose(trace.whole[last], source.run(FEEDS, X)["output"])


def test_untraceable_models_say_why():
    """One that writes to its own state has no trace, and no float64."""
    source = load_source(lambda: flax_nnx(train=True))
    trace = source.trace(FEEDS, X)

    assert not trace.complete
    assert "JAX cannot trace the model" in trace.why
    assert source.in_double(X)(FEEDS) is None


def test_state_and_mode():
    """Train mode is named, and what a call changed is put back."""
    source = load_source(lambda: flax_nnx(train=True))
    state = source.state()
    source.run(FEEDS, X)
    changed = source.state()
    source.restore(state)

    assert not np.array_equal(changed["norm.mean"], state["norm.mean"])
    assert all(np.array_equal(value, state[name]) for name, value in source.state().items())
    assert "call model.eval() in the factory" in source.mode_hint()
    assert load_source(flax_nnx).mode_hint() == ""


def test_custody_puts_back_weights_flags_and_switches():
    """Whatever somebody does to a module and to JAX itself."""
    net = flax_nnx()
    source, kernel = load_source(lambda: net), net.first.kernel.get_value()
    with untouched(source) as custody:
        net.first.kernel.set_value(kernel * 2)
        net.train()
        jax.config.update("jax_enable_x64", True)

    assert net.first.kernel.get_value() is kernel
    assert net.drop.deterministic
    assert not jax.config.jax_enable_x64
    assert any("first.kernel" in what for what in custody.restored)
    assert custody.lost == []


def test_inputs_with_parts():
    """Dots gather what belongs to one parameter, as for PyTorch."""
    source = load_source(lambda: jax.jit(lambda carry, x: (carry[0] + x, carry[1]["scale"] * x)))
    signature = Signature({name: TensorSpec("float32", "n") for name in ("carry.0", "carry.1.scale", "x")})
    ones = np.ones(2, "float32")

    outputs = source.run({"carry.0": ones, "carry.1.scale": 3 * ones, "x": 2 * ones}, signature)

    assert [value.tolist() for value in outputs.values()] == [[3, 3], [6, 6]]
