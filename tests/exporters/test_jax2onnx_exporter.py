"""JAX through jax2onnx: names and sizes as declared, dtypes honest, refusals with the primitive and the line."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")
onnx_function = pytest.importorskip("jax2onnx").onnx_function

import jax.numpy as jnp  # noqa: E402

from pytest_onnxprep import Dim, TensorSpec  # noqa: E402
from pytest_onnxprep.errors import ContractViolation, ExporterError, ExportFailed, SourceError  # noqa: E402
from pytest_onnxprep.exporters import jax2onnx as exporter_module  # noqa: E402

X = {"x": "float32[n, 4]"}
TOKENS = np.random.default_rng(0).normal(size=(10, 4)).astype("float32")


@pytest.mark.parametrize("opset", [17, 23, 26])
@pytest.mark.parametrize("build", ["build_attention", "build_nnx_cnn", "build_eqx_gru"])
def test_the_zoo_at_both_ends_of_the_opsets(export, build, opset):
    """A jitted function, a Flax and an Equinox module, dims named, the opset the one asked for."""
    from model_zoo import jax_models

    inputs = {
        "build_attention": {"tokens": "float32[batch, seq, 32]", "mask": "bool[batch, seq]"},
        "build_nnx_cnn": {"image": "float32[batch, h, w, 3]"},
        "build_eqx_gru": {"signal": "float32[batch, seq, 8]"},
    }[build]
    model = export(
        getattr(jax_models, build),
        inputs=inputs,
        dims={"h": (8, 16), "w": (8, 16)} if "cnn" in build else {},
        opset=opset,
    )

    assert model.opset == opset
    assert export.inputs(model)[next(iter(inputs))][0] == "batch"
    export.agrees(model, batch=3)


@pytest.mark.parametrize("opset", [16, 27])
def test_opset_beside_the_range(export, opset):
    """jax2onnx is taken from 17 to 26."""
    with pytest.raises(ExporterError, match=r"jax2onnx 17\.\.26"):
        export(lambda: jnp.tanh, inputs=X, opset=opset)


def test_names_and_order_as_declared(export):
    """Inputs bind by name, outputs keep their declared names and order."""
    model = export(
        lambda: jax.jit(lambda a, b: {"p": a - 10 * b, "q": a}),
        inputs={"b": "float32[n]", "a": "float32[n]"},
        outputs={"q": "float32[n]", "p": "float32[n]"},
    )

    assert (export.inputs(model), export.outputs(model)) == ({"b": ["n"], "a": ["n"]}, {"q": ["n"], "p": ["n"]})
    export.agrees(model, n=3)


def test_outputs_that_are_inputs_or_each_other(export):
    """They stay apart."""
    model = export(lambda: jax.jit(lambda x: {"a": x, "b": x, "c": x * 2}), inputs=X)

    assert list(export.outputs(model)) == ["a", "b", "c"]
    export.agrees(model, n=2)


def test_sizes_in_expressions(export):
    """Sums of dims, multiples, and outputs whose sizes follow from them."""
    cut = export(
        lambda: lambda x, y: jnp.concatenate([x, y])[: y.shape[0]],
        inputs={"x": "float32[past + seq]", "y": "float32[seq]"},
    )
    folded = export(
        lambda: jax.jit(lambda x: x.reshape(x.shape[0] // 4, 4)),
        inputs={"x": "float32[n]"},
        dims={"n": Dim(4, 32, multiple_of=4)},
    )

    assert export.outputs(cut) == {"output": ["seq"]}
    assert export.outputs(folded) == {"output": ["floordiv(n, 4)", 4]}
    export.agrees(cut, past=2, seq=3)
    export.agrees(folded, n=12)


def test_a_loop_keeps_its_length(export):
    """jax2onnx forgets the size of what a scan stacks; JAX knows it."""
    model = export(lambda: jax.jit(lambda x: jax.lax.scan(lambda c, v: (c + v, c), jnp.zeros(4), x)[1]), inputs=X)

    assert export.outputs(model) == {"output": ["n", 4]}
    export.agrees(model, n=5)


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_integers_keep_their_width(export, dtype):
    """An int64 input stays one, beside floats that stay single; the global switch is as it was."""
    table = jnp.asarray(TOKENS)
    model = export(
        lambda: lambda tokens: table[tokens].mean(axis=1),
        inputs={"tokens": TensorSpec(dtype, "batch, seq", low=0, high=10)},
        outputs={"mean": "float32[batch, 4]"},
    )

    export.agrees(model, batch=2, seq=3)
    assert not jax.config.jax_enable_x64


def test_float64(export):
    """The whole model in double, and its outputs."""
    model = export(
        lambda: lambda x: jnp.sin(x) @ jnp.asarray(TOKENS.T, x.dtype),
        inputs={"x": "float64[n, 4]"},
        outputs={"y": "float64[n, 10]"},
    )

    export.agrees(model, n=3)
    assert not jax.config.jax_enable_x64


def test_float16(export):
    """Constants that jax2onnx makes itself, the bias of a Gemm among them, are of the model's precision."""
    half = jnp.asarray(np.arange(12).reshape(3, 4) / 8, "float16")
    model = export(lambda: jax.jit(lambda x: x @ half + jnp.ones(4, x.dtype)), inputs={"x": "float16[n, 3]"})

    assert model.describe().outputs[0].dtype == "float16"
    assert {weights.dtype for weights in model.describe().initializers} <= {"float16", "int64"}
    feeds = {"x": np.linspace(-1, 1, 15, dtype=np.float16).reshape(5, 3)}
    np.testing.assert_allclose(model.run(feeds)["output"], model.reference(feeds)["output"], atol=4e-3)


def test_float32_beside_float64_is_told(export):
    """jax2onnx makes every float a double; the contract says which input is not what was declared."""
    with pytest.raises(ContractViolation, match="input 'y' is float64, declared float32"):
        export(lambda: lambda x, y: (jnp.sin(x), y * 2), inputs={"x": "float64[n]", "y": "float32[n]"})


def test_options(export):
    """They are passed on; others are refused with those there are."""
    export(lambda: jnp.tanh, inputs=X, options={"model_name": "mine", "normalization_mode": "prefer_native"})
    with pytest.raises(ExporterError, match="did you mean 'normalization_mode'"):
        export(lambda: jnp.tanh, inputs=X, options={"normalisation_mode": "auto"})
    with pytest.raises(ExporterError, match="'input_names' of jax2onnx is set by the plugin"):
        export(lambda: jnp.tanh, inputs=X, options={"input_names": ["y"]})


@pytest.mark.parametrize(
    ("function", "inputs", "words"),
    [
        (
            lambda x: jnp.linalg.svd(x)[1],
            "float32[3, 4, 4]",
            r"svd .*primitive 'svd' at test_jax2onnx_exporter\.py:\d+",
        ),
        (
            lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), "float32"), x),
            "float32[3]",
            "(?s)without a translation to ONNX.*primitive 'pure_callback' at test_jax2onnx_exporter",
        ),
        (
            lambda x: jnp.sin(x) if x.shape[0] > 4 else x,
            "float32[n]",
            "(?s)'n' > '4' is inconclusive.*narrow it in dims=",
        ),
        (lambda x: jnp.sin(x) if x.sum() > 4 else x, "float32[n]", "(?s)branches on values.*jax.lax.cond"),
        (lambda x: x + jnp.arange(x.shape[0]), "float32[n]", "use jax.lax.iota"),
    ],
    ids=["svd", "callback", "size", "value", "arange"],
)
def test_refusals(export, function, inputs, words):
    """What stopped it, where, and what to do."""
    with pytest.raises(ExportFailed, match=words):
        export(lambda: function, inputs={"x": inputs})


def test_a_decision_that_the_range_settles(export):
    """The declared range reaches JAX: every size is beyond four."""
    export.agrees(
        export(lambda: lambda x: jnp.sin(x) if x.shape[0] > 4 else x, inputs={"x": "float32[n]"}, dims={"n": (5, 9)}),
        n=7,
    )


def test_names_that_jax_has_taken(export):
    """A dim called like one of JAX's functions has to be renamed."""
    with pytest.raises(ExporterError, match="JAX has no symbols for these dims"):
        export(lambda: jnp.tanh, inputs={"x": "float32[mod]"})


def test_other_exporters_do_not_take_jax(export):
    """The one that does is named."""
    with pytest.raises(ExporterError, match="accepted for it: jax2onnx"):
        export(lambda: jnp.tanh, "tf2onnx", inputs=X)


def test_missing_inputs(export):
    """A function does not say what it takes."""
    with pytest.raises(SourceError, match="does not say what it takes: write inputs="):
        export(lambda: jax.jit(jnp.tanh))


def test_the_converter_is_quiet(export, capfd):
    """What it logs is kept, not shown."""
    export(lambda: jnp.tanh, inputs=X, options={"model_name": "quiet"})

    assert capfd.readouterr() == ("", "")


def test_large_weights_are_kept_beside_the_file(export, monkeypatch):
    """Beyond the limit the weights go to a file of their own."""
    monkeypatch.setattr(exporter_module, "EXTERNAL_DATA_BYTES", 1000)
    weight = jnp.ones((4, 512))
    model = export(lambda: lambda x: jnp.tanh(x @ weight), inputs=X)

    assert [path.name for path in model.files] == ["model.onnx", "model.onnx.data"]
    export.agrees(model, n=2)


@onnx_function
def wave(x):
    """A block that is kept as a function of the file."""
    return jnp.sin(x) + 1


@onnx_function
class Wave:
    """The same as a class."""

    def __call__(self, x):
        return jnp.sin(x) + 1


def within():
    """The same where jax2onnx does not find it."""

    @onnx_function
    def hidden(x):
        return jnp.sin(x) + 1

    return jax.jit(lambda x: jax.lax.scan(lambda carry, row: (hidden(carry + row), row), x[0], x)[0])


def class_within():
    """Of this one jax2onnx would find the first, of a factory that is called twice."""

    @onnx_function
    class Hidden:
        def __call__(self, x):
            return jnp.sin(x) + 1

    made = Hidden()
    return jax.jit(lambda x: made(x) * 2)


def by_another_name():
    """As it is after an import of the name."""
    other = wave
    return jax.jit(lambda x: other(x) * 2)


@pytest.mark.parametrize("sizes", ["n, 4", "5, 4"], ids=["open", "fixed"])
@pytest.mark.parametrize("block", [lambda x: wave(x) * 2, lambda x: Wave()(x) * 2], ids=["def", "class"])
def test_functions_of_ones_own(export, block, sizes):
    """They stay functions of the file, also of one size, where the reference has been traced before."""
    model = export(lambda: jax.jit(block), inputs={"x": f"float32[{sizes}]"})

    assert [function.name.lower() for function in model.proto.functions] == ["wave"]
    export.agrees(model)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (within, r"within\.<locals>\.hidden"),
        (class_within, r"class_within\.<locals>\.Hidden"),
        (by_another_name, "wave"),
    ],
)
def test_functions_that_are_not_kept(export, build, name):
    """jax2onnx would write them out silently, or not export at all; the models after them are exported as before."""
    where = rf"'{name}' \(test_jax2onnx_exporter\.py:\d+\)"
    with pytest.raises(
        ExporterError, match=f"{where} is called, but did not become a function.*at the top of a module"
    ):
        export(build, inputs=X)

    assert export(lambda: jnp.tanh, inputs=X).operators == {"Tanh": 1}
    kept = export(lambda: jax.jit(lambda x: wave(x) * 2), inputs=X)
    assert [function.name for function in kept.proto.functions] == ["wave"]


def test_the_models_own_traces_are_left_alone(export):
    """Of one size, what jax2onnx traced is not what the reference runs, nor the other way round."""
    model = jax.jit(lambda x: jax.nn.gelu(wave(x), approximate=False))
    exported = export(model, inputs={"x": "float32[2, 4]"}, outputs={"output": "float32[2, 4]"})

    assert exported.operators["Gelu"] == 1
    assert "gelu" not in {equation.primitive.name for equation in jax.make_jaxpr(model)(TOKENS[:2]).eqns}
    export.agrees(exported)
