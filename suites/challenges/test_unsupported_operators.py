"""An operator that no exporter knows, and the three ways out: translate it, rewrite the model, split the model.

docs/unsupported-operators.md tells of all three.
"""

import onnx
import pytest

from pytest_onnxprep import ExportFailed, ParityError, Pipeline, Stage, TensorSpec, assert_parity, onnx_export, parity

torch = pytest.importorskip("torch")
onnxscript = pytest.importorskip("onnxscript")
extensions = pytest.importorskip("onnxruntime_extensions")

from onnxscript import FLOAT  # noqa: E402
from onnxscript import opset18 as op  # noqa: E402

X = {"inputs": {"x": "float32[batch, 4]"}, "dims": {"batch": (1, 4)}}

# -- a PyTorch operator of one's own ------------------------------------------------------------------------------


@torch.library.custom_op("challenges::cube", mutates_args=())
def cube(x: torch.Tensor) -> torch.Tensor:
    return x**3


@cube.register_fake
def _(x):
    return torch.empty_like(x)


class Cubic(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        return cube(self.layer(x)) + 1


def build():
    torch.manual_seed(0)
    return Cubic().eval()


@pytest.mark.parametrize(
    ("exporter", "operator", "option"),
    [
        ("dynamo", r"challenges\.cube\.default", "custom_translation_table"),
        ("torchscript", "challenges::cube", "symbolics"),
    ],
    ids=["dynamo", "torchscript"],
)
def test_diagnosis(onnx_exporter, exporter, operator, option):
    """The operator, its line, and how a translation is given to this exporter."""
    with pytest.raises(ExportFailed, match=rf"(?s){operator}.*return cube\(self\.layer\(x\)\).*{option}"):
        onnx_exporter(build, **X, exporter=exporter)


# -- translate: into ONNX operators, into a function of the file, into a node that ONNX Runtime is taught ----------

OWN = onnxscript.values.Opset("challenges", 1)


@onnxscript.script(OWN, default_opset=op)
def Cube(x: FLOAT[...]) -> FLOAT[...]:  # noqa: N802 - the name of the ONNX function
    return op.Mul(op.Mul(x, x), x)


@extensions.onnx_op(op_type="Cube", inputs=[extensions.PyCustomOpDef.dt_float])
def cube_for_onnxruntime(x):
    return x**3


@extensions.onnx_op(op_type="Square", inputs=[extensions.PyCustomOpDef.dt_float])
def square_for_onnxruntime(x):
    return x**2


def node(domain, name):
    """A node of another domain, for a translation table: one input, one output of the same type."""
    tensor = onnx.defs.OpSchema.FormalParameter
    schema = onnx.defs.OpSchema(
        name,
        domain,
        1,
        inputs=[tensor("x", "T")],
        outputs=[tensor("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
    )
    return onnxscript.values.Op(onnxscript.values.Opset(domain, 1), name, schema)


own_cube, contrib_cube = node("challenges", "Cube"), node("ai.onnx.contrib", "Cube")
contrib_square = node("ai.onnx.contrib", "Square")
TAUGHT = {"domains": ["ai.onnx.contrib"], "ort_custom_ops": "onnxruntime-extensions"}


def as_operators(x):
    return op.Mul(op.Mul(x, x), x)


def as_square(x):
    """Another power."""
    return op.Mul(x, x)


def as_function(x):
    return own_cube(x)


def as_node(x):
    return contrib_cube(x)


def as_wrong_node(x):
    return contrib_square(x)


def table(function):
    return {"custom_translation_table": {torch.ops.challenges.cube.default: function}}


def symbolic(function):
    return {"symbolics": {"challenges::cube": function}}


def symbolic_node(name):
    return symbolic(lambda g, x: g.op(name, x).setType(x.type()))


#: A function of the right name whose body is another power.
SQUARE = onnx.helper.make_function(
    "challenges",
    "Cube",
    ["x"],
    ["y"],
    [onnx.helper.make_node("Mul", ["x", "x"], ["y"])],
    [onnx.helper.make_opsetid("", 17)],
)


def is_written_out(model):
    """In ONNX's own operators."""
    assert model.operators["Mul"] == 2
    assert not model.describe().functions


def is_a_function(model):
    """The graph calls it, the file says what it is."""
    assert model.operators["challenges.Cube"] == 1
    assert model.describe().functions == {"challenges.Cube": 2}


def is_a_node(model):
    """One node that ONNX Runtime is taught; its meaning is in no file."""
    assert model.describe().custom_domains == {"ai.onnx.contrib": {"Cube": 1}}


@onnx_export(build, **X, exporter="dynamo", options=table(as_operators))
@parity()
def test_translated_for_dynamo(onnx_model):
    is_written_out(onnx_model)


@onnx_export(build, **X, exporter="torchscript", options=symbolic(lambda g, x: g.op("Mul", g.op("Mul", x, x), x)))
@parity()
def test_translated_for_torchscript(onnx_model):
    is_written_out(onnx_model)


@onnx_export(build, **X, exporter="dynamo", options={**table(as_function), "functions": [Cube]})
@parity()
def test_function_for_dynamo(onnx_model):
    is_a_function(onnx_model)


@onnx_export(
    build,
    **X,
    exporter="torchscript",
    opset=18,
    options=[
        symbolic(lambda g, x: g.onnxscript_op(Cube, x).setType(x.type())),
        {**symbolic_node("challenges::Cube"), "functions": [Cube]},
    ],
)
@parity()
def test_function_for_torchscript(onnx_model):
    is_a_function(onnx_model)


@onnx_export(build, **X, exporter="dynamo", options={**table(as_node), **TAUGHT})
@parity()
def test_node_for_dynamo(onnx_model):
    is_a_node(onnx_model)


@onnx_export(build, **X, exporter="torchscript", options={**symbolic_node("ai.onnx.contrib::Cube"), **TAUGHT})
@parity()
def test_node_for_torchscript(onnx_model):
    is_a_node(onnx_model)


@pytest.mark.parametrize(
    ("exporter", "options"),
    [
        ("dynamo", table(as_square)),
        ("dynamo", {**table(as_function), "functions": [SQUARE]}),
        ("dynamo", {**table(as_wrong_node), **TAUGHT}),
        ("torchscript", symbolic(lambda g, x: g.op("Mul", x, x))),
        ("torchscript", {**symbolic_node("challenges::Cube"), "functions": [SQUARE]}),
        ("torchscript", {**symbolic_node("ai.onnx.contrib::Square"), **TAUGHT}),
    ],
    ids=[f"{exporter}-{form}" for exporter in ("dynamo", "torchscript") for form in ("operators", "function", "node")],
)
def test_wrong_translation(onnx_exporter, exporter, options):
    """A translation is code like any other; parity names its node."""
    model = onnx_exporter(build, **X, exporter=exporter, options=options)
    with pytest.raises(ParityError, match=r"first divergence +\S*(Mul|mul|Square|Cube|cube)"):
        assert_parity(model)


# -- rewrite ------------------------------------------------------------------------------------------------------

MATRIX = {"inputs": {"x": TensorSpec("float32", "batch, 2, 2", low=-10, high=10)}, "dims": {"batch": (1, 4)}}


class SpectralNorm(torch.nn.Module):
    """Needs a singular value decomposition, which ONNX has not."""

    def forward(self, x):
        return torch.linalg.svdvals(x)[:, 0]


class ClosedForm(torch.nn.Module):
    """The largest singular value of a 2 by 2 matrix."""

    def forward(self, x):
        a, b, c, d = x.reshape(-1, 4).unbind(1)
        plus, minus = (a + d).square() + (b - c).square(), (a - d).square() + (b + c).square()
        return (plus.sqrt() + minus.sqrt()) / 2


class Frobenius(torch.nn.Module):
    """Another norm."""

    def forward(self, x):
        return x.reshape(-1, 4).square().sum(1).sqrt()


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_svd_is_named(onnx_exporter, exporter):
    with pytest.raises(ExportFailed, match=r"(?s)linalg_svd.*return torch\.linalg\.svdvals\(x\)"):
        onnx_exporter(SpectralNorm, **MATRIX, exporter=exporter)


@onnx_export(SpectralNorm, **MATRIX, exporter=["dynamo", "torchscript"], options={"rewritten": ClosedForm})
@parity()
def test_rewritten(onnx_model):
    assert onnx_model.operators["Sqrt"] == 2


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_rewritten_wrongly(onnx_exporter, exporter):
    model = onnx_exporter(SpectralNorm, **MATRIX, exporter=exporter, options={"rewritten": Frobenius})
    with pytest.raises(ParityError, match="'output' differs"):
        assert_parity(model)


# -- split --------------------------------------------------------------------------------------------------------


def build_body():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 2)


@onnx_export(
    Pipeline([build_body, Stage(SpectralNorm, export=False), Stage(torch.nn.Softplus, name="head")]),
    **MATRIX,
    exporter=["dynamo", "torchscript"],
)
@parity()
def test_split(onnx_model):
    """The layer that ONNX lacks stays in PyTorch; what is before and after it is exported."""
    assert list(onnx_model.stages) == ["body", "head"]
