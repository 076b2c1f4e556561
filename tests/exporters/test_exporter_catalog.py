"""Which exporters there are: refusals list what is accepted, and other distributions can bring their own."""

from __future__ import annotations

import importlib.metadata
import sys
import types

import onnx
import pytest
from onnx import TensorProto, helper

from pytest_onnxprep.errors import ExporterError, ExportFailed
from pytest_onnxprep.exporters import catalog
from pytest_onnxprep.exporters.catalog import CATALOG, ExporterInfo, best_for, check_framework, check_opset, find


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchscrip", "unknown exporter 'torchscrip'; did you mean 'torchscript'? Accepted: dynamo, torchscript,"),
        ("kera", "unknown exporter 'kera'; did you mean 'keras'?"),
    ],
)
def test_unknown_names(name, words):
    """A wrong name gets the closest one and the list."""
    with pytest.raises(ExporterError) as caught:
        find(name)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("framework", "opset", "expected"),
    [
        ("torch", None, "dynamo"),
        ("torch", 18, "dynamo"),
        ("torch", 17, "torchscript"),
        ("transformers", 25, "dynamo"),
        ("keras", 9, "tf2onnx"),
        ("tensorflow", 18, "tf2onnx"),
        ("onnx", None, "none"),
    ],
)
def test_best_exporter(framework, opset, expected):
    """The newest exporter that produces the opset."""
    assert best_for(framework, opset) == expected


def test_best_exporter_leaves_out_the_unsuited():
    """A model that an exporter cannot take goes to the next one."""
    assert best_for("torch", 20, {"dynamo": "why"}) == "torchscript"


@pytest.mark.parametrize(
    ("framework", "opset", "words"),
    [
        ("keras", 19, "no exporter of keras models produces opset 19; accepted: tf2onnx 9..18"),
        ("torch", 26, "accepted: dynamo 18..25, torchscript 7..23"),
    ],
)
def test_no_exporter_for_an_opset(framework, opset, words):
    """The ranges of all exporters of the framework are listed."""
    with pytest.raises(ExporterError) as caught:
        best_for(framework, opset)

    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "opset"), [("tf2onnx", 8), ("tf2onnx", 19), ("torchscript", 24), ("dynamo", 17)])
def test_opset_out_of_range(name, opset):
    """An opset beside the range is refused with the range."""
    info = CATALOG[name]

    with pytest.raises(ExporterError, match=rf"accepted: {info.opsets[0]}\.\.{info.opsets[1]}"):
        check_opset(info, opset)


@pytest.mark.parametrize("name", CATALOG)
def test_ends_of_the_range_are_accepted(name):
    """Both ends of every range, and no opset at all."""
    for opset in (*CATALOG[name].opsets, None):
        check_opset(CATALOG[name], opset)


def test_wrong_framework_lists_the_takers():
    """A Keras model for a torch exporter."""
    with pytest.raises(ExporterError, match="'dynamo' does not take net; accepted for it: tf2onnx"):
        check_framework(CATALOG["dynamo"], "keras", "net")


INFO = ExporterInfo("mine", "onnxprep_test_exporter", ("onnx", "torch"), (17, 17), 17)


class Entry:
    """An entry point, as importlib.metadata gives it."""

    value = "some_package:INFO"

    def __init__(self, loaded):
        self.load = lambda: loaded


@pytest.fixture
def registered(monkeypatch):
    """Register what a distribution's entry point ``mine`` gives, and the module behind it."""

    def register(loaded, export=None):
        real = importlib.metadata.entry_points

        def entry_points(**selected):
            mine = selected == {"group": catalog.ENTRY_POINT_GROUP, "name": "mine"}
            return [Entry(loaded)] if mine else real(**selected)

        module = types.ModuleType("onnxprep_test_exporter")
        module.export = export
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    return register


def write_doubling(job):
    """A trivial exporter: the model is always ``y = x + x``."""
    print("hello from the exporter")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", *job.output_names)]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], job.output_names)], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(job.path))


def double():
    """A torch model to go with it."""
    torch = pytest.importorskip("torch")

    class Double(torch.nn.Module):
        def forward(self, x):
            return x * 2

    return Double().eval()


def test_exporter_of_another_distribution(registered, export):
    """An entry point's exporter goes the same way as ours: opset, contract, dims, provenance, cache."""
    registered(INFO, write_doubling)
    model = export(double(), "mine", inputs={"x": "float32[batch, 3]"}, outputs=["twice"])

    assert (model.variant.exporter, model.opset) == ("mine", 17)
    assert export.inputs(model) == {"x": ["batch", 3]}
    assert model.provenance["converter_output"] == ["hello from the exporter"]
    export.agrees(model, batch=4)


def test_entry_point_must_be_an_info(registered):
    """Anything else is refused with what it is."""
    registered({"name": "mine"})

    with pytest.raises(ExporterError, match="'some_package:INFO' of exporter 'mine' must be an ExporterInfo"):
        find("mine")


def test_exporter_whose_module_is_missing(registered, export, monkeypatch):
    """A package that is not installed is an error of the environment, not of the model."""
    registered(ExporterInfo("mine", "onnxprep_no_such_module", ("torch",), (17, 17), 17))

    with pytest.raises(ExporterError, match="needs onnxprep_no_such_module, which is not installed"):
        export(double(), "mine", inputs={"x": "float32[n, 3]"})


def test_exporter_that_lacks_a_package(registered, export):
    """The same where the import stands inside the exporter's function, or was wrapped."""

    def lacking(_job):
        try:
            import onnxprep_no_such_package  # noqa: F401
        except ImportError as error:
            raise RuntimeError("export failed") from error

    registered(INFO, lacking)

    with pytest.raises(ExporterError, match="needs onnxprep_no_such_package"):
        export(double(), "mine", inputs={"x": "float32[n, 3]"})


def test_exporter_that_writes_nothing(registered, export):
    """Returning without a file is a failed export."""
    registered(INFO, lambda job: print("oops"))

    with pytest.raises(ExportFailed, match="mine returned without writing a file") as caught:
        export(double(), "mine", inputs={"x": "float32[n, 3]"})

    assert caught.value.result.sections == (("converter output", "oops"),)


def test_exporter_that_raises(registered, export):
    """The finding has the kind of error, its words, the user's own line, and what was printed before."""

    def broken(_job):
        print("working")
        raise ValueError("first line:\nsecond line\n\x1b[1mthird\x1b[0m")

    registered(INFO, broken)

    with pytest.raises(ExportFailed) as caught:
        export(double(), "mine", inputs={"x": "float32[n, 3]"})

    expected = "mine cannot export the model at opset 17: ValueError: first line: second line"
    assert caught.value.result.summary == expected
    assert "test_exporter_catalog.py" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert caught.value.result.sections == (("converter output", "working"),)


def test_file_that_breaks_the_contract_shows_what_the_converter_said(registered, export):
    """The chatter of an exporter goes along with the contract's finding too."""
    registered(INFO, write_doubling)

    with pytest.raises(AssertionError, match=r"axis 1 \(k\) was declared dynamic") as caught:
        export(double(), "mine", inputs={"x": "float32[batch, k]"}, dims={"k": (3, 3)})

    assert caught.value.result.sections == (("converter output", "hello from the exporter"),)
