"""The same ways out in TensorFlow and JAX: tf2onnx handlers, jax2onnx plugins."""

import numpy as np
import onnx
import pytest

from pytest_onnxprep import ExportFailed, ParityError, assert_parity, onnx_export, parity
from pytest_onnxprep.errors import ExporterError

extensions = pytest.importorskip("onnxruntime_extensions")

X = {"inputs": {"x": "float32[batch, 4]"}, "dims": {"batch": (1, 4)}}
TAUGHT = {"domains": ["ai.onnx.contrib"], "ort_custom_ops": "onnxruntime-extensions"}


@extensions.onnx_op(op_type="ReluGrad", inputs=[extensions.PyCustomOpDef.dt_float] * 2)
def relu_grad_for_onnxruntime(gradients, features):
    return gradients * (features > 0)


@extensions.onnx_op(op_type="JaxCube", inputs=[extensions.PyCustomOpDef.dt_float])
def cube_for_onnxruntime(x):
    return x**3


@extensions.onnx_op(op_type="JaxSquare", inputs=[extensions.PyCustomOpDef.dt_float])
def square_for_onnxruntime(x):
    return x**2


def function(name, inputs, *nodes):
    """An ONNX function for the file: its nodes as (operator, inputs, output)."""
    made = [onnx.helper.make_node(operator, given, [output]) for operator, given, output in nodes]
    return onnx.helper.make_function("challenges", name, inputs, ["y"], made, [onnx.helper.make_opsetid("", 17)])


# -- TensorFlow: the gradient of relu, which a model that looks at its own gradient has ---------------------------


def build_saliency():
    """How much each input matters to the answer."""
    keras = pytest.importorskip("keras")
    import tensorflow as tf

    class Saliency(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

        def call(self, x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                answer = tf.nn.relu(tf.matmul(x, self.kernel))
            return tape.gradient(answer, x)

    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    return keras.Model(x, Saliency(name="saliency")(x))


def relu_grad_as_operators(ctx, node, name, args):
    """Where the feature is positive, the gradient."""
    gradients, features = node.input
    dtype, shape = ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
    ctx.remove_node(node.name)
    zero = ctx.make_const(f"{name}_zero", np.zeros((), "float32")).output[0]
    positive = ctx.make_node("Greater", [features, zero]).output[0]
    ctx.make_node("Where", [positive, gradients, zero], outputs=node.output, name=name, dtypes=[dtype], shapes=[shape])


def relu_grad_as_node(ctx, node, name, args):
    node.domain = "ai.onnx.contrib"


def relu_grad_as_function(ctx, node, name, args):
    node.domain = "challenges"


def relu_grad_forgotten(ctx, node, name, args):
    """Lets every gradient pass."""
    node.type = "Identity"
    ctx.replace_inputs(node, node.input[:1])


def relu_grad_swapped(ctx, node, name, args):
    """The kept node, with its inputs the wrong way round."""
    node.domain = "ai.onnx.contrib"
    ctx.replace_inputs(node, node.input[::-1])


RELU_GRAD = function(
    "ReluGrad",
    ["gradients", "features"],
    ("Relu", ["features"], "positive"),
    ("Sign", ["positive"], "mask"),
    ("Mul", ["gradients", "mask"], "y"),
)
RELU_GRAD_OF_NEGATIVE = function(
    "ReluGrad",
    ["gradients", "features"],
    ("Neg", ["features"], "negative"),
    ("Relu", ["negative"], "positive"),
    ("Sign", ["positive"], "mask"),
    ("Mul", ["gradients", "mask"], "y"),
)


def handlers(function):
    return {"custom_op_handlers": {"ReluGrad": (function, [])}}


def test_keras_saliency(onnx_exporter):
    """tf2onnx leaves the operator in the graph and says so in its log only."""
    pytest.importorskip("tf2onnx")
    with pytest.raises(ExportFailed, match=r"(?s)ReluGrad +layer '\S*saliency' \(Saliency\).*'custom_op_handlers'"):
        onnx_exporter(build_saliency)


@onnx_export(build_saliency, **X, exporter="tf2onnx", options=handlers(relu_grad_as_operators))
@parity()
def test_keras_saliency_translated(onnx_model):
    assert onnx_model.operators["Where"] == 1
    assert not onnx_model.describe().functions


@onnx_export(
    build_saliency,
    **X,
    exporter="tf2onnx",
    options={**handlers(relu_grad_as_function), "functions": [RELU_GRAD]},
)
@parity()
def test_keras_saliency_kept_as_a_function(onnx_model):
    assert onnx_model.operators["challenges.ReluGrad"] == 1
    assert onnx_model.describe().functions == {"challenges.ReluGrad": 3}


@onnx_export(build_saliency, **X, exporter="tf2onnx", options={**handlers(relu_grad_as_node), **TAUGHT})
@parity()
def test_keras_saliency_kept_as_a_node(onnx_model):
    assert onnx_model.describe().custom_domains == {"ai.onnx.contrib": {"ReluGrad": 1}}


@pytest.mark.parametrize(
    "options",
    [
        handlers(relu_grad_forgotten),
        {**handlers(relu_grad_as_function), "functions": [RELU_GRAD_OF_NEGATIVE]},
        {**handlers(relu_grad_swapped), **TAUGHT},
    ],
    ids=["operators", "function", "node"],
)
def test_keras_saliency_translated_wrongly(onnx_exporter, options):
    pytest.importorskip("tf2onnx")
    model = onnx_exporter(build_saliency, **X, options=options)
    with pytest.raises(ParityError, match="differs"):
        assert_parity(model)


def build_by_hand(masked=True):
    """The same gradient in operators that have a translation."""
    keras = pytest.importorskip("keras")
    kernel = build_saliency().get_layer("saliency").kernel

    class ByHand(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=kernel.shape, name="kernel")

        def call(self, x):
            features = keras.ops.matmul(x, self.kernel)
            mask = keras.ops.cast(features > 0, "float32") if masked else keras.ops.ones_like(features)
            return keras.ops.matmul(mask, keras.ops.transpose(self.kernel))

    x = keras.Input((4,), name="x")
    model = keras.Model(x, ByHand(name="by_hand")(x))
    model.set_weights([kernel])
    return model


def build_without_mask():
    return build_by_hand(masked=False)


@onnx_export(build_saliency, **X, exporter="tf2onnx", options={"rewritten": build_by_hand})
@parity()
def test_keras_saliency_rewritten(onnx_model):
    assert onnx_model.operators["MatMul"] == 2


def test_keras_saliency_rewritten_wrongly(onnx_exporter):
    pytest.importorskip("tf2onnx")
    model = onnx_exporter(build_saliency, **X, exporter="tf2onnx", options={"rewritten": build_without_mask})
    with pytest.raises(ParityError, match="differs"):
        assert_parity(model)


# -- JAX: a primitive of one's own, as a Pallas or foreign kernel would be ----------------------------------------


def build_cubic():
    jax = pytest.importorskip("jax")
    return jax.jit(lambda x: cube_primitive().bind(x) + 1)


def cube_primitive():
    import jax
    from jax.extend.core import Primitive
    from jax.interpreters import mlir

    primitive = Primitive("challenges_cube")
    primitive.def_impl(lambda x: x**3)
    primitive.def_abstract_eval(lambda x: x)
    mlir.register_lowering(primitive, mlir.lower_fun(lambda x: jax.numpy.power(x, 3), multiple_results=False))
    return primitive


class Plugin:
    """What jax2onnx asks for a primitive's ONNX form (`PrimitiveLeafPlugin.lower`)."""

    def emit(self, ctx, x):
        return ctx.builder.Mul(ctx.builder.Mul(x, x), x, _outputs=[ctx.fresh_name("cube")])

    def get_patch_params(self):
        return []

    def lower(self, ctx, eqn):
        x, (out,) = ctx.get_value_for_var(eqn.invars[0]), eqn.outvars
        y, declared = self.emit(ctx, x), ctx.get_value_for_var(out)
        y.type, y.shape = declared.type, declared.shape
        ctx.bind_value_for_var(out, y)


class NodePlugin(Plugin):
    domain, name = "ai.onnx.contrib", "JaxCube"

    def emit(self, ctx, x):
        return ctx.builder.op(self.name, [x], domain=self.domain, name=ctx.fresh_name("cube"))


class FunctionPlugin(NodePlugin):
    domain = "challenges"


class WrongPlugin(Plugin):
    def emit(self, ctx, x):
        return ctx.builder.Mul(x, x, _outputs=[ctx.fresh_name("square")])


class WrongNodePlugin(NodePlugin):
    name = "JaxSquare"


CUBE = function("JaxCube", ["x"], ("Mul", ["x", "x"], "square"), ("Mul", ["square", "x"], "y"))
SQUARE = function("JaxCube", ["x"], ("Mul", ["x", "x"], "y"))


def plugins(kind):
    return {"plugins": {"challenges_cube": kind}}


def test_jax_primitive(onnx_exporter):
    pytest.importorskip("jax2onnx")
    with pytest.raises(ExportFailed, match=r"(?s) challenges_cube .*cube_primitive\(\)\.bind\(x\).*'plugins'"):
        onnx_exporter(build_cubic, **X)


@onnx_export(build_cubic, **X, options=plugins(Plugin))
@parity()
def test_jax_primitive_translated(onnx_model):
    assert onnx_model.operators["Mul"] == 2
    assert not onnx_model.describe().functions


@onnx_export(build_cubic, **X, options={**plugins(FunctionPlugin), "functions": [CUBE]})
@parity()
def test_jax_primitive_kept_as_a_function(onnx_model):
    assert onnx_model.operators["challenges.JaxCube"] == 1
    assert onnx_model.describe().functions == {"challenges.JaxCube": 2}


@onnx_export(build_cubic, **X, options={**plugins(NodePlugin), **TAUGHT})
@parity()
def test_jax_primitive_kept_as_a_node(onnx_model):
    assert onnx_model.describe().custom_domains == {"ai.onnx.contrib": {"JaxCube": 1}}


@pytest.mark.parametrize(
    "options",
    [
        plugins(WrongPlugin),
        {**plugins(FunctionPlugin), "functions": [SQUARE]},
        {**plugins(WrongNodePlugin), **TAUGHT},
    ],
    ids=["operators", "function", "node"],
)
def test_jax_primitive_translated_wrongly(onnx_exporter, options):
    pytest.importorskip("jax2onnx")
    model = onnx_exporter(build_cubic, **X, options=options)
    with pytest.raises(ParityError, match="differs"):
        assert_parity(model)


def build_product():
    """The cube as a product, which has a translation."""
    jax = pytest.importorskip("jax")
    return jax.jit(lambda x: x * x * x + 1)


def build_square():
    jax = pytest.importorskip("jax")
    return jax.jit(lambda x: x * x + 1)


@onnx_export(build_cubic, **X, exporter="jax2onnx", options={"rewritten": build_product})
@parity()
def test_jax_primitive_rewritten(onnx_model):
    assert set(onnx_model.operators) == {"Mul", "Add"}


def test_jax_primitive_rewritten_wrongly(onnx_exporter):
    pytest.importorskip("jax2onnx")
    model = onnx_exporter(build_cubic, **X, exporter="jax2onnx", options={"rewritten": build_square})
    with pytest.raises(ParityError, match="differs"):
        assert_parity(model)


# -- JAX: a function of one's own, which jax2onnx keeps as one of the file -----------------------------------------

try:
    from jax2onnx import onnx_function
except ImportError:

    def onnx_function(function):
        return function


@onnx_function
def gated(x):
    import jax

    return x * jax.nn.sigmoid(x)


def build_gated():
    jax = pytest.importorskip("jax")
    return jax.jit(lambda x: gated(x + 1) * 2)


def build_gated_within():
    """The function is made by the factory, where jax2onnx does not find it."""
    jax = pytest.importorskip("jax")

    @onnx_function
    def gate(x):
        return x * jax.nn.sigmoid(x)

    return jax.jit(lambda x: gate(x + 1) * 2)


def test_jax_function_made_in_a_factory(onnx_exporter):
    pytest.importorskip("jax2onnx")
    with pytest.raises(ExporterError, match=r"build_gated_within\.<locals>\.gate.*did not become a function"):
        onnx_exporter(build_gated_within, **X)


@onnx_export(build_gated, **X)
@parity()
def test_jax_function_kept(onnx_model):
    """Also after an export that failed on another such function."""
    (name,) = onnx_model.describe().functions
    assert name.endswith("gated")
    assert onnx_model.operators[name] == 1
