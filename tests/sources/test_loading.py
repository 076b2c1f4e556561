"""From what the user wrote to a source: every refusal says what is accepted and what to do."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import pytest

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources import load as load_module
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.sources.onnx_file import OnnxFileSource
from pytest_onnxprep.sources.recognise import framework_of, framework_of_type


def refused(value, **arguments):
    """The text of the refusal."""
    with pytest.raises(SourceError) as caught:
        load_source(value, **arguments)
    return str(caught.value)


def needs_arguments(width, depth=2, *rest, kind):
    """No factory."""


def raises():
    """A factory with a bug."""
    return {}["weights"]


def lacks():
    """A factory whose package is missing."""
    import onnxprep_no_such_package  # noqa: F401


def makes_junk():
    """A factory of something else."""
    return {"not": "a model"}


def test_missing_file(tmp_path):
    """Both places that were looked at are named."""
    text = refused("nets/missing.onnx", base=tmp_path)

    assert "source file 'nets/missing.onnx' does not exist" in text
    assert f"looked for {tmp_path / 'nets/missing.onnx'} and {Path.cwd() / 'nets/missing.onnx'}" in text
    assert "accepted: a zero-argument factory, a torch.nn.Module" in text


def test_unknown_suffix(tmp_path):
    """What is accepted."""
    (tmp_path / "net.xyz").write_bytes(b"")

    assert "is no model file that is known here; accepted: a zero-argument factory" in refused(tmp_path / "net.xyz")


def test_folder_of_nothing(tmp_path):
    """Neither a SavedModel nor a Transformers folder."""
    assert "is no model file that is known here" in refused(str(tmp_path))


def test_factory_with_arguments():
    """The required ones are listed; defaults and stars are no matter."""
    text = refused(needs_arguments)

    assert "factory needs_arguments (test_loading.py:" in text
    assert "needs arguments (width, kind); a zero-argument factory is accepted: wrap it in a lambda" in text


def test_partial_is_a_factory():
    """Arguments filled in are no longer needed; what it returns counts."""
    assert "returned builtins.NoneType" in refused(functools.partial(needs_arguments, 1, kind=2))


def test_factory_that_raises():
    """The kind of error, the line, and that nothing was checked."""
    text = refused(raises)

    assert "factory raises (test_loading.py:" in text
    assert "raised KeyError: 'weights'" in text
    assert 'return {}["weights"]' in text
    assert "nothing was checked" in text


def test_factory_that_lacks_a_package():
    """What to install, or how to skip."""
    text = refused(lacks)

    assert "needs onnxprep_no_such_package, which cannot be imported" in text
    assert "pytest.importorskip" in text


def test_factory_of_junk():
    """What it returned."""
    assert "returned builtins.dict, which is no model; accepted:" in refused(makes_junk)


@pytest.mark.parametrize("value", [3, None, object()])
def test_no_model_at_all(value):
    """Neither model, path nor callable."""
    assert f"({type(value).__qualname__}) is no model; accepted:" in refused(value)


def test_factory_of_a_path(tmp_path):
    """It may return a path, relative to the test's folder."""
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph), str(tmp_path / "net.onnx"))
    source = load_source(lambda: "net.onnx", base=tmp_path)

    assert isinstance(source, OnnxFileSource)
    assert load_source(source) is source


def test_framework_that_is_not_installed(monkeypatch, tmp_path):
    """The extra that brings it."""
    (tmp_path / "net.keras").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "keras", None)

    text = refused(tmp_path / "net.keras")
    assert "needs keras, which is not installed: pip install 'pytest-onnxprep[tensorflow]'" in text


def test_reader_that_fails(monkeypatch, tmp_path):
    """The framework's own words, with the file."""
    (tmp_path / "net.h5").write_bytes(b"")
    monkeypatch.setitem(load_module._LOADERS, "keras", ("builtins", "int", ""))

    assert "net.h5' cannot be read as a keras model: int() argument must be" in refused(tmp_path / "net.h5")


def _class(name, module, *bases):
    return type(name, bases or (object,), {"__module__": module})


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (_class("Net", "mine", _class("Module", "torch.nn.modules.module")), "torch"),
        (_class("Model", "keras.src.models.model"), "keras"),
        (_class("Function", "tensorflow.python.eager.polymorphic_function.polymorphic_function"), "tensorflow"),
        (_class("Module", "mine"), None),
    ],
)
def test_classes_are_known_by_name(cls, expected):
    """No framework is imported to recognise a model."""
    assert framework_of_type(cls) == expected


def test_transformers_come_before_torch():
    """Their models are torch modules as well."""
    both = _class(
        "Bert",
        "mine",
        _class("PreTrainedModel", "transformers.modeling_utils"),
        _class("Module", "torch.nn.modules.module"),
    )

    assert framework_of_type(both) == "transformers"


def test_class_itself_is_a_factory():
    """A class is no model: calling it makes one."""
    assert framework_of(_class("Net", "mine", _class("Module", "torch.nn.modules.module"))) is None


def test_pipes_and_devices_are_no_files(tmp_path):
    """Reading one waits for ever, or never ends; also where it lies in a folder, or behind a link."""
    os.mkfifo(tmp_path / "net.onnx")
    (tmp_path / "zero.tflite").symlink_to("/dev/zero")
    (tmp_path / "saved").mkdir()
    os.mkfifo(tmp_path / "saved" / "saved_model.pb")

    for name in ("net.onnx", "zero.tflite", "saved"):
        with pytest.raises(SourceError, match="neither a file nor a folder"):
            load_source(tmp_path / name)


def test_a_name_no_file_can_have(tmp_path):
    """It does not exist, and is not repeated at length."""
    with pytest.raises(SourceError, match="does not exist") as raised:
        load_source("a" * 5000 + ".onnx", base=tmp_path)

    assert len(str(raised.value)) < 3000


def test_checkpoints_of_training_scripts():
    """They are called archives and are none."""
    assert framework_of("runs/model_best.pth.tar") == "torch"
    assert framework_of("runs/data.tar") is None
