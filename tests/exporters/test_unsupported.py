"""Operators without a translation: all of them are named with layer and line, and each way out is taken."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from onnxscript import FLOAT, script, values  # noqa: E402
from onnxscript import opset18 as op  # noqa: E402

from pytest_onnxprep.errors import ExporterError, ExportFailed, OnnxPrepError, SpecError  # noqa: E402
from pytest_onnxprep.sources.state_digest import state_digest  # noqa: E402
from pytest_onnxprep.spec.export_request import read_export  # noqa: E402

X = {"x": "float32[batch, 4]"}
OWN = values.Opset("my.ops", 1)


class Spectrum(torch.nn.Module):
    """Two operators that neither of torch's exporters has."""

    def forward(self, x):
        return torch.linalg.svdvals(x) + torch.special.i1(x.sum())


class Net(torch.nn.Module):
    """They lie in a layer of their own."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 4)
        self.spectrum = Spectrum()

    def forward(self, x):
        return self.spectrum(self.body(x))


class Bessel(torch.nn.Module):
    """One operator without a translation."""

    def forward(self, x):
        return torch.special.i0(x)


class Series(torch.nn.Module):
    """The same, for small inputs, by its power series."""

    def __init__(self, first=1.0):
        super().__init__()
        self.first = first

    def forward(self, x):
        y = x * x / 4
        return self.first + y * (1 + y * (1 / 4 + y * (1 / 36 + y * (1 / 576 + y / 14400))))


@script(OWN, default_opset=op)
def I0(x: FLOAT[...]) -> FLOAT[...]:  # noqa: D103
    y = op.Div(op.Mul(x, x), 4.0)
    return op.Add(op.Add(1.0, y), op.Div(op.Mul(y, y), 4.0))


def i0_of(g, x):
    """A TorchScript symbolic that leaves a node of a domain of its own."""
    return g.op("my.ops::I0", x).setType(x.type())


@pytest.mark.parametrize(
    ("exporter", "names", "option"),
    [
        ("dynamo", ["aten._linalg_svd.default", "prims.bessel_i1.default"], "torch.ops.aten._linalg_svd.default"),
        ("torchscript", ["aten::linalg_svdvals", "aten::special_i1"], "'symbolics': {'aten::linalg_svdvals'"),
    ],
)
def test_torch(export, exporter, names, option):
    """Every one of them at once, with its layer, its line, and how a translation is given to this exporter."""
    with pytest.raises(ExportFailed) as caught:
        export(lambda: Net().eval(), exporter, inputs=X)
    result = caught.value.result
    message = str(caught.value)

    assert f"{names[0]} in layer 'spectrum' (Spectrum) at test_unsupported.py:" in result.summary
    assert [found["name"] for found in result.figures["unsupported"]] == names
    assert all("torch.special.i1(x.sum())" in found["line"] for found in result.figures["unsupported"])
    assert option in message
    assert all(way in message for way in ("translate", "rewrite", "split"))


def test_tensorflow(export):
    """tf2onnx logs them and goes on; here they are told with the Keras layer and the line."""
    keras = pytest.importorskip("keras")
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tf2onnx")

    class Spectrum(keras.layers.Layer):
        def call(self, x):
            return tf.linalg.svd(x, compute_uv=False)

    def build():
        image = keras.Input((4, 4))
        return keras.Model(image, Spectrum(name="spectrum")(keras.layers.Dense(4)(image)), name="net")

    with pytest.raises(ExportFailed) as caught:
        export(build)

    found = caught.value.result.figures["unsupported"][0]
    assert (found["name"], found["layer"]) == ("Svd", "'net/spectrum' (Spectrum)")
    assert "tf.linalg.svd(x, compute_uv=False)" in found["line"]
    assert "'custom_op_handlers': {'Svd'" in str(caught.value)


@pytest.mark.parametrize("exporter", ["tf2onnx", "keras"])
def test_random_numbers(export, exporter):
    """What draws them is most often a dropout that should not."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("tf2onnx")

    class Trained(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop = keras.layers.Dropout(0.5)

        def call(self, x):
            return self.drop(x, training=True)

    with pytest.raises(ExportFailed, match="StatelessRandomUniformV2 draws random numbers: dropout or noise is active"):
        export(Trained(), exporter, inputs=X)


def test_jax(export):
    """The primitive, the class of the module, the line."""
    jax = pytest.importorskip("jax")
    pytest.importorskip("jax2onnx")
    nnx = pytest.importorskip("flax.nnx")

    class Callback(nnx.Module):
        def __call__(self, x):
            return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), "float32"), x)

    with pytest.raises(ExportFailed) as caught:
        export(Callback, inputs={"x": "float32[3]"})

    found = caught.value.result.figures["unsupported"][0]
    assert (found["name"], found["layer"]) == ("pure_callback", "Callback")
    assert "jax.pure_callback(np.sin" in found["line"]
    assert "'plugins': {'pure_callback'" in str(caught.value)


def test_symbolics_are_registered_for_one_export_only(export):
    """With one the export works; the next one without fails as before."""
    symbolics = {"aten::i0": lambda g, x: g.op("Exp", x)}
    model = export(Bessel, "torchscript", inputs=X, options={"symbolics": symbolics})

    assert model.operators == {"Exp": 1}
    with pytest.raises(ExportFailed, match="aten::i0"):
        export(Bessel, "torchscript", inputs=X)
    with pytest.raises(ExporterError, match="must map operators to functions"):
        export(Bessel, "torchscript", inputs=X, options={"symbolics": {"i0": None}})


def test_translations_registered_for_the_process(export):
    """They are part of the key: another one for the same operator makes another file, and none fails as before."""

    class Scaled(torch.nn.Module):
        def forward(self, x):
            return torch.special.i0e(x)

    for operator in ("Exp", "Log"):
        torch.onnx.register_custom_op_symbolic(
            "aten::special_i0e", lambda g, x, operator=operator: g.op(operator, x), 17
        )
        assert export(Scaled, "torchscript", inputs=X).operators == {operator: 1}
    torch.onnx.unregister_custom_op_symbolic("aten::special_i0e", 17)


def test_custom_opsets_declare_their_domains(export):
    """What the TorchScript exporter is told of a domain need not be told twice."""
    request = read_export(Bessel, inputs=X, options={"custom_opsets": {"my.ops": 1}})

    assert request.domains == ("my.ops",)


def test_function_in_the_file(export):
    """A node of a domain of one's own is what the function says; a function nobody calls is refused."""
    options = {"symbolics": {"aten::i0": i0_of}, "functions": [I0]}
    model = export(Bessel, "torchscript", inputs=X, opset=18, options=options)
    zeros = {"x": np.zeros((2, 4), "float32")}

    assert model.operators["my.ops.I0"] == 1
    assert [function.domain for function in model.proto.functions] == ["my.ops"]
    assert (model.run(zeros)["output"] == 1).all()
    with pytest.raises(ExporterError, match=r"no node of the file calls my\.ops::I0"):
        export(lambda: torch.nn.ReLU(), "torchscript", inputs=X, options={"functions": [I0]})
    with pytest.raises(ExporterError, match="written for opset 18, the file is at 17"):
        export(Bessel, "torchscript", inputs=X, opset=17, options=options)


def test_function_that_a_symbolic_brings(export):
    """An `onnxscript_op` is for one export, too; beside ``functions`` of the same name these stand."""
    brought = {"aten::i0": lambda g, x: g.onnxscript_op(I0, x).setType(x.type())}
    other = onnx.helper.make_function(
        "my.ops", "I0", ["x"], ["y"], [onnx.helper.make_node("Exp", ["x"], ["y"])], [onnx.helper.make_opsetid("", 18)]
    )

    def functions(symbolics, **options):
        options = {"symbolics": symbolics, **options}
        model = export(Bessel, "torchscript", inputs=X, opset=18, options=options, domains=("my.ops",))
        return [[node.op_type for node in function.node] for function in model.proto.functions]

    assert len(functions(brought)[0]) > 1
    assert functions({"aten::i0": i0_of}, functions=[other]) == [["Exp"]]
    assert functions(brought, functions=[other]) == [["Exp"]]
    with pytest.raises(ExportFailed, match="not a registered function/op"):
        functions({"aten::i0": i0_of})


def test_node_without_an_implementation(export):
    """A domain alone does not run; ONNX Runtime's word for it is passed on."""
    with pytest.raises(ExportFailed, match="not a registered function/op"):
        export(Bessel, "torchscript", inputs=X, options={"symbolics": {"aten::i0": i0_of}}, domains=("my.ops",))


def test_library_that_is_not_there(export):
    """It is said where it was looked for."""
    options = {"symbolics": {"aten::i0": i0_of}, "ort_custom_ops": "libmine.so"}
    with pytest.raises(OnnxPrepError, match=r"ort_custom_ops: 'libmine\.so' does not exist"):
        export(Bessel, "torchscript", inputs=X, options=options, domains=("my.ops",))


def test_custom_operator_library(export):
    """A session of the file has the operators of the library."""
    extensions = pytest.importorskip("onnxruntime_extensions")

    @extensions.onnx_op(op_type="BesselI0", inputs=[extensions.PyCustomOpDef.dt_float])
    def bessel_i0(x):
        return np.i0(x).astype("float32")

    options = {
        "symbolics": {"aten::i0": lambda g, x: g.op("ai.onnx.contrib::BesselI0", x).setType(x.type())},
        "ort_custom_ops": "onnxruntime-extensions",
    }
    model = export(Bessel, "torchscript", inputs=X, options=options, domains=("ai.onnx.contrib",))

    export.agrees(model, batch=3)


def test_rewritten(export):
    """The equivalent model is exported, the original is the reference."""
    model = export(Bessel, "torchscript", inputs=X, options={"rewritten": Series})
    half = {"x": np.full((2, 4), 0.5, "float32")}

    assert isinstance(model.source.model, Bessel)
    assert model.provenance["rewritten_as"].startswith("Series")
    np.testing.assert_allclose(model.run(half)["output"], model.reference(half)["output"], rtol=1e-6)
    wrong = export(Bessel, "torchscript", inputs=X, options={"rewritten": lambda: Series(2.0)})
    assert abs(wrong.run(half)["output"] - wrong.reference(half)["output"]).max() > 0.5


def test_rewritten_with_other_outputs(export):
    """What cannot be compared is refused."""

    class Two(torch.nn.Module):
        def forward(self, x):
            return {"a": x, "b": x}

    with pytest.raises(ExporterError, match=r"the outputs of Two .* are a, b; Bessel .* must have the same"):
        export(Bessel, "torchscript", inputs=X, options={"rewritten": Two})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"functions": [1]}, "list of onnx.FunctionProto or onnxscript functions"),
        ({"ort_custom_ops": 1}, "'onnxruntime-extensions' or the path"),
        ({"rewritten": 1}, "factory of an equivalent model"),
        ({"domains": [1]}, "list of operator domains"),
    ],
)
def test_malformed(options, words):
    """The plugin's own options are read when the test is collected."""
    with pytest.raises(SpecError, match=words):
        read_export(Bessel, inputs=X, options=options)


def _schema(name):
    parameter = onnx.defs.OpSchema.FormalParameter
    return onnx.defs.OpSchema(
        name,
        "my.ops",
        1,
        inputs=[parameter("x", "T")],
        outputs=[parameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({torch.ops.aten.special_i0.default: 1}, {torch.ops.aten.special_i1.default: 1}),
        ([I0.to_function_proto()], [onnx.FunctionProto()]),
        (values.Op(OWN, "A", _schema("A")), values.Op(OWN, "B", _schema("B"))),
        (OWN, values.Opset("my.ops", 2)),
        ({"f": lambda x: op.Exp(x)}, {"f": lambda x: op.Log(x)}),
    ],
    ids=["operator", "proto", "schema", "opset", "function"],
)
def test_what_options_hold_is_part_of_the_key(one, other):
    """Translation tables, functions and schemas have a digest that another process shares, and differ when they do."""
    first, second = state_digest(one), state_digest(other)

    assert first.stable
    assert second.stable
    assert first.hexdigest != second.hexdigest
