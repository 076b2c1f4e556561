"""The same ways out in TensorFlow and JAX: tf2onnx handlers, jax2onnx plugins."""

import math

import numpy as np
import pytest

from pytest_onnxprep import ExportFailed, ParityError, assert_parity, onnx_export, parity

extensions = pytest.importorskip("onnxruntime_extensions")

X = {"inputs": {"x": "float32[batch, 4]"}, "dims": {"batch": (1, 4)}}
TAUGHT = {"domains": ["ai.onnx.contrib"], "ort_custom_ops": "onnxruntime-extensions"}


@extensions.onnx_op(op_type="Erfc", inputs=[extensions.PyCustomOpDef.dt_float])
def erfc_for_onnxruntime(x):
    return np.vectorize(math.erfc, otypes=["float32"])(x)


@extensions.onnx_op(op_type="JaxCube", inputs=[extensions.PyCustomOpDef.dt_float])
def cube_for_onnxruntime(x):
    return x**3


# -- TensorFlow: the complementary error function, which Keras's exact gelu is made of ----------------------------


def build_gelu():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="x")
    return keras.Model(x, keras.layers.Dense(3, activation="gelu", name="dense")(x))


def erfc_as_operators(ctx, node, name, args):
    """1 - Erf(x)."""
    node.type = "Erf"
    one = ctx.make_const(f"{name}_one", np.ones((), "float32"))
    difference = ctx.make_node("Sub", [one.output[0], node.output[0]], name=f"{name}_sub")
    readers = [reader for reader in ctx.get_nodes() if reader is not difference]
    ctx.replace_all_inputs(node.output[0], difference.output[0], ops=readers)


def erfc_as_node(ctx, node, name, args):
    node.domain = "ai.onnx.contrib"


def erfc_forgotten(ctx, node, name, args):
    """Erf(x), without the 1."""
    node.type = "Erf"


def handlers(function):
    return {"custom_op_handlers": {"Erfc": (function, [])}}


def test_keras_gelu(onnx_exporter):
    """tf2onnx leaves the operator in the graph and says so in its log only."""
    pytest.importorskip("tf2onnx")
    with pytest.raises(ExportFailed, match=r"Erfc +layer 'functional\S*/dense' \(Dense\)"):
        onnx_exporter(build_gelu)


@onnx_export(build_gelu, **X, options=[handlers(erfc_as_operators), {**handlers(erfc_as_node), **TAUGHT}])
@parity()
def test_keras_gelu_translated(onnx_model):
    assert {"Erf", "ai.onnx.contrib.Erfc"} & set(onnx_model.operators)


def test_keras_gelu_translated_wrongly(onnx_exporter):
    pytest.importorskip("tf2onnx")
    model = onnx_exporter(build_gelu, **X, options=handlers(erfc_forgotten))
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
