"""Dtypes and odd shapes in TensorFlow and JAX; PyTorch's are in `test_dtypes.py`."""

import numpy as np
import pytest

from pytest_onnxprep import ContractViolation, ExportFailed, ParityError, TensorSpec, assert_parity, onnx_export, parity

tf = pytest.importorskip("tensorflow")
jax = pytest.importorskip("jax")
pytest.importorskip("tf2onnx")
pytest.importorskip("jax2onnx")

import jax.numpy as jnp  # noqa: E402

KERNEL = np.random.default_rng(0).normal(size=(8, 4)) / 3


def of_tf(body, *specs):
    """A factory of a ``tf.function`` over inputs of these dtypes and shapes, called `x`, `y`, ..."""
    specs = [tf.TensorSpec(shape, dtype, name=name) for name, (dtype, shape) in zip("xyz", specs, strict=False)]
    return lambda: tf.function(body, input_signature=specs)


def of_jax(body):
    return lambda: jax.jit(body)


def rows(dtype):
    return {"inputs": {"x": f"{dtype}[batch, 8]"}, "dims": {"batch": (1, 4)}}


# -- floats -------------------------------------------------------------------------------------------------------


def tf_layer(dtype):
    kernel = tf.constant(KERNEL, dtype)
    return of_tf(lambda x: {"y": tf.nn.relu(x @ kernel) * 2}, (dtype, [None, 8]))


def jax_layer(dtype):
    """A layer, and half of it again: constants of the same precision."""
    return of_jax(lambda x: {"y": jax.nn.relu(x @ jnp.asarray(KERNEL, x.dtype) + jnp.ones(4, x.dtype)) * 2})


FLOATS = [tf_layer, jax_layer]


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("layer", FLOATS)
def test_floats(onnx_exporter, layer, dtype):
    model = onnx_exporter(layer(dtype), **rows(dtype))
    assert {tensor.dtype for tensor in model.describe().outputs} == {dtype}
    assert {weights.dtype for weights in model.describe().initializers} <= {dtype, "int64"}
    assert assert_parity(model, max_examples=20).verdict.value == "pass"


@pytest.mark.xfail(
    raises=ExportFailed,
    strict=True,
    reason="ONNX Runtime 1.32 has no bfloat16 kernels of MatMul and Gemm on the CPU provider",
)
@pytest.mark.parametrize("layer", FLOATS)
def test_bfloat16(onnx_exporter, layer):
    onnx_exporter(layer("bfloat16"), **rows("bfloat16"))


@onnx_export(
    of_tf(lambda x: {"y": tf.cast(tf.cast(x, tf.bfloat16), tf.float32)}, ("float32", [None, 8])),
    inputs={"x": TensorSpec("float32", "batch, 8", low=-1e6, high=1e6)},  # beyond what float16 holds
)
@parity()
def test_tf_bfloat16_inside(onnx_model):
    assert onnx_model.run({"x": np.full((1, 8), 70_001, "float32")})["y"][0, 0] == 70_144  # the nearest bfloat16


# -- integers and truth values ------------------------------------------------------------------------------------


def tf_integers(dtype):
    return of_tf(
        lambda x: {"sum": x + x, "most": tf.reduce_max(x, axis=1), "real": tf.cast(x, tf.float32) / 127},
        (dtype, [None, 8]),
    )


def jax_integers(dtype):
    return of_jax(lambda x: {"sum": x + x, "most": x.max(axis=1), "real": x.astype("float32") / 127})


@pytest.mark.xfail(raises=ExportFailed, strict=True, reason="tf2onnx 1.17 has no translation of StringLength")
def test_tf_string_functions(onnx_exporter):
    onnx_exporter(of_tf(lambda x: {"y": tf.strings.length(x)}, ("string", [None])), inputs={"x": "string[n]"})


@onnx_export(of_tf(lambda x: {"column": tf.reshape(x, [-1, 1])}, ("string", [None])), inputs={"x": "string[n]"})
@parity()
def test_tf_strings_passed_on(onnx_model):
    assert onnx_model.describe().outputs[0].dtype == "string"


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("integers", [tf_integers, jax_integers])
def test_integers_wrap_around(onnx_exporter, integers, dtype):
    model = onnx_exporter(integers(dtype), **rows(dtype))
    assert {tensor.name: tensor.dtype for tensor in model.describe().outputs} == {
        "sum": dtype,
        "most": dtype,
        "real": "float32",
    }
    assert assert_parity(model, max_examples=20).verdict.value == "pass"


@pytest.mark.parametrize("integers", [tf_integers, jax_integers])
def test_integers_of_another_width_are_caught(onnx_exporter, integers):
    """The declaration is part of the contract: what was traced in int8 is not handed over as uint8."""
    built = onnx_exporter(integers("int8"), **rows("int8"))
    with pytest.raises(ContractViolation, match="input 'x' is int8, declared uint8"):
        onnx_exporter(integers("uint8"), **rows("uint8"), artifact=built.path)


@pytest.mark.parametrize(
    "build",
    [
        of_tf(
            lambda x: {"not": tf.logical_not(x), "any": tf.reduce_any(x, 1), "chosen": tf.where(x, 1.0, 2.0)},
            ("bool", [None, 8]),
        ),
        of_jax(lambda x: {"not": ~x, "any": x.any(1), "chosen": jnp.where(x, 1.0, 2.0)}),
    ],
    ids=["tf", "jax"],
)
def test_bool(onnx_exporter, build):
    model = onnx_exporter(build, **rows("bool"))
    assert {tensor.name: tensor.dtype for tensor in model.describe().outputs} == {
        "not": "bool",
        "any": "bool",
        "chosen": "float32",
    }
    assert assert_parity(model, max_examples=20).verdict.value == "pass"


# -- odd shapes ---------------------------------------------------------------------------------------------------

EMPTY = {"inputs": {"x": "float32[batch, 8]"}, "dims": {"batch": (0, 4)}}


@pytest.mark.parametrize(
    "build",
    [
        of_tf(lambda x: {"y": tf.nn.relu(x) @ tf.ones((8, 4)), "sum": tf.reduce_sum(x)}, ("float32", [None, 8])),
        of_jax(lambda x: {"y": jax.nn.relu(x) @ jnp.ones((8, 4)), "sum": x.sum()}),
    ],
    ids=["tf", "jax"],
)
def test_empty_batch(onnx_exporter, build):
    model = onnx_exporter(build, **EMPTY)
    assert model.run({"x": np.zeros((0, 8), "float32")})["y"].shape == (0, 4)
    assert assert_parity(model, max_examples=20).verdict.value == "pass"


@pytest.mark.parametrize(
    "build",
    [
        of_tf(lambda x: {"y": tf.reduce_mean(x, axis=0)}, ("float32", [None, 8])),
        of_jax(lambda x: {"y": x.mean(axis=0)}),
    ],
    ids=["tf", "jax"],
)
def test_mean_of_an_empty_batch(onnx_exporter, build, request):
    """Of nothing there is no mean. tf2onnx leaves it to ReduceMean, jax2onnx divides by the size as JAX does."""
    model = onnx_exporter(build, **EMPTY)
    if "jax" in request.node.name:
        assert assert_parity(model, max_examples=20).verdict.value == "pass"
        return
    with pytest.raises(ParityError, match="is 0 where the framework has NaN, at batch=0"):
        assert_parity(model, max_examples=20)


SCALED = {"inputs": {"x": "float32[batch, 8]", "y": "float32[]"}, "dims": {"batch": (1, 4)}}


@pytest.mark.parametrize(
    "build",
    [
        of_tf(
            lambda x, y: {"scaled": x * y, "twice": y * 2, "sum": tf.reduce_sum(x)},
            ("float32", [None, 8]),
            ("float32", []),
        ),
        of_jax(lambda x, y: {"scaled": x * y, "twice": y * 2, "sum": x.sum()}),
    ],
    ids=["tf", "jax"],
)
def test_scalars(onnx_exporter, build):
    model = onnx_exporter(build, **SCALED)
    assert {tensor.name: len(tensor.shape) for tensor in model.describe().outputs} == {
        "scaled": 2,
        "twice": 0,
        "sum": 0,
    }
    assert assert_parity(model, max_examples=20).verdict.value == "pass"


def test_jax_scalar_made_a_number(onnx_exporter):
    """JAX traces without values, so that none can be frozen."""

    def made_a_number(x, y):
        return jnp.tanh(x) * float(y)

    with pytest.raises(ExportFailed, match=r"(?s)jnp\.tanh\(x\) \* float\(y\)"):
        onnx_exporter(lambda: made_a_number, **SCALED)


@pytest.mark.parametrize(
    "build",
    [
        of_tf(lambda: {"table": tf.nn.softmax(tf.range(5.0))}),
        of_jax(lambda: {"table": jax.nn.softmax(jnp.arange(5.0))}),
    ],
    ids=["tf", "jax"],
)
def test_no_input(onnx_exporter, build):
    model = onnx_exporter(build, inputs={})
    assert list(model.run({})) == ["table"]
    assert assert_parity(model, max_examples=20).verdict.value == "pass"


def levels(x):
    return {f"level{index:02}": x[:, : index + 1] * index for index in range(16)}


@pytest.mark.parametrize("build", [of_tf(levels, ("float32", [None, 16])), of_jax(levels)], ids=["tf", "jax"])
def test_many_outputs(onnx_exporter, build):
    model = onnx_exporter(build, inputs={"x": "float32[batch, 16]"}, dims={"batch": (1, 4)})
    assert model.output_names == [f"level{index:02}" for index in range(16)]
    assert assert_parity(model, max_examples=20).verdict.value == "pass"
