"""The same ways out in TensorFlow and JAX: tf2onnx handlers, jax2onnx plugins."""

import numpy as np
import pytest

from pytest_onnxprep import ExportFailed, ParityError, assert_parity, onnx_export, parity

extensions = pytest.importorskip("onnxruntime_extensions")

X = {"inputs": {"x": "float32[batch, 4]"}, "dims": {"batch": (1, 4)}}
TAUGHT = {"domains": ["ai.onnx.contrib"], "ort_custom_ops": "onnxruntime-extensions"}


@extensions.onnx_op(op_type="ReluGrad", inputs=[extensions.PyCustomOpDef.dt_float] * 2)
def relu_grad_for_onnxruntime(gradients, features):
    return gradients * (features > 0)


@extensions.onnx_op(op_type="JaxCube", inputs=[extensions.PyCustomOpDef.dt_float])
def cube_for_onnxruntime(x):
    return x**3


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


def relu_grad_forgotten(ctx, node, name, args):
    """Lets every gradient pass."""
    node.type = "Identity"
    ctx.replace_inputs(node, node.input[:1])


def handlers(function):
    return {"custom_op_handlers": {"ReluGrad": (function, [])}}


def test_keras_saliency(onnx_exporter):
    """tf2onnx leaves the operator in the graph and says so in its log only."""
    pytest.importorskip("tf2onnx")
    with pytest.raises(ExportFailed, match=r"(?s)ReluGrad +layer '\S*saliency' \(Saliency\).*'custom_op_handlers'"):
        onnx_exporter(build_saliency)


@onnx_export(
    build_saliency,
    **X,
    exporter="tf2onnx",
    options=[handlers(relu_grad_as_operators), {**handlers(relu_grad_as_node), **TAUGHT}],
)
@parity()
def test_keras_saliency_translated(onnx_model):
    assert {"Where", "ai.onnx.contrib.ReluGrad"} & set(onnx_model.operators)


def test_keras_saliency_translated_wrongly(onnx_exporter):
    pytest.importorskip("tf2onnx")
    model = onnx_exporter(build_saliency, **X, options=handlers(relu_grad_forgotten))
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
    def emit(self, ctx, x):
        return ctx.builder.op("JaxCube", [x], domain="ai.onnx.contrib", name=ctx.fresh_name("cube"))


class WrongPlugin(Plugin):
    def emit(self, ctx, x):
        return ctx.builder.Mul(x, x, _outputs=[ctx.fresh_name("square")])


def plugins(kind):
    return {"plugins": {"challenges_cube": kind}}


def test_jax_primitive(onnx_exporter):
    pytest.importorskip("jax2onnx")
    with pytest.raises(ExportFailed, match=r"(?s) challenges_cube .*cube_primitive\(\)\.bind\(x\).*'plugins'"):
        onnx_exporter(build_cubic, **X)


@onnx_export(build_cubic, **X, options=[plugins(Plugin), {**plugins(NodePlugin), **TAUGHT}])
@parity()
def test_jax_primitive_translated(onnx_model):
    assert {"Mul", "ai.onnx.contrib.JaxCube"} & set(onnx_model.operators)


def test_jax_primitive_translated_wrongly(onnx_exporter):
    pytest.importorskip("jax2onnx")
    model = onnx_exporter(build_cubic, **X, options=plugins(WrongPlugin))
    with pytest.raises(ParityError, match="differs"):
        assert_parity(model)
