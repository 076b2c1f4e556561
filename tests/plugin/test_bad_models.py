"""A broken test or environment ends as ``error``: what, where, what is accepted, what to do; never our traceback."""

from __future__ import annotations

import os

import numpy as np
import pytest

MARK = "@onnx_export({source}, inputs=X, exporter={exporter!r}, opset={opset}{more})"
TAIL = """
@parity()
def test_bad(onnx_model): pass

def test_plain(): pass
"""


def told(story, source, *args, **options):
    """Run a file whose one marked test is broken; its two checks are errors, the plain test passes."""
    outcome = story(source + TAIL, *args, **options)
    failing = outcome.text[: outcome.text.find("= PASSES =")]

    assert outcome.counts() == {"error": 2}, outcome.verdicts
    assert "pytest_onnxprep/" not in failing
    assert "Traceback" not in failing
    assert "PASSED test_story.py::test_plain" in outcome.text
    assert outcome.result.ret == pytest.ExitCode.TESTS_FAILED
    return outcome.one("parity")["summary"] + "\n" + failing


def export(source="build", exporter="torchscript", opset=17, more=""):
    """The decorator."""
    return MARK.format(source=source, exporter=exporter, opset=opset, more=more)


SOURCES = {
    "missing file": ('"nowhere.onnx"', ["'nowhere.onnx' does not exist", "accepted"]),
    "missing folder": ('"no/such/folder"', ["no/such/folder", "does not exist", "accepted"]),
    "unknown file type": ("__file__", ["is no model file", "accepted"]),
    "factory raises": ("raises", ["raises (test_story.py:", "ValueError", "no weights here", "nothing was checked"]),
    "factory with arguments": ("lambda size: nn.Linear(size, 1)", ["needs arguments (size)", "zero-argument"]),
    "factory returns junk": ("lambda: 42", ["returned builtins.int", "no model", "accepted"]),
    "factory returns nothing": ("lambda: None", ["NoneType", "accepted"]),
    "junk": ("object()", ["object", "no model", "accepted"]),
    "factory misses a package": ("imports", ["not_installed_anywhere", "imports (test_story.py:", "Install"]),
}


@pytest.mark.parametrize(("source", "needed"), SOURCES.values(), ids=SOURCES)
def test_a_source_that_cannot_be_had(story, source, needed):
    """The message names the source, what happened and what is accepted."""
    text = told(
        story,
        "def raises(): raise ValueError('no weights here')\n"
        "def imports(): import not_installed_anywhere\n"
        f"@onnx_export({source}, inputs=X)",
    )

    assert [word for word in needed if word not in text] == []


def test_a_file_that_is_no_onnx(story):
    """An unreadable .onnx source is named."""
    (story.path / "junk.onnx").write_bytes(b"not a protobuf")
    text = told(story, "@onnx_export('junk.onnx')")

    assert "junk.onnx" in text


def test_an_unreadable_artifact_fails(story):
    """A file made elsewhere that is no ONNX is a finding: the file under test is bad."""
    (story.path / "junk.onnx").write_bytes(b"not a protobuf")
    outcome = story("@onnx_export(build, inputs=X, artifact='junk.onnx')" + TAIL)

    assert outcome.counts() == {"fail": 2}
    assert "junk.onnx is not a readable ONNX file" in outcome.text
    assert "Traceback" not in outcome.text


def test_a_missing_artifact(story):
    """A missing artifact is an error that says where it was looked for."""
    text = told(story, "@onnx_export(build, inputs=X, artifact='gone.onnx')")

    assert "artifact 'gone.onnx' does not exist" in text
    assert str(story.path) in text


def test_an_unreadable_keras_file(story):
    """A broken .h5 is named, with the reason."""
    pytest.importorskip("tensorflow")
    import keras  # noqa: F401 - before the run, which would throw it away again

    (story.path / "junk.h5").write_bytes(b"not hdf5")
    text = told(story, "@onnx_export('junk.h5')")

    assert "junk.h5" in text
    assert "is damaged, or no HDF5 file" in text


def test_a_missing_framework(story):
    """Without TensorFlow a Keras file's test is an error that says what to install; torch tests go on."""
    (story.path / "net.keras").write_bytes(b"")
    story.pytester.makeconftest("import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None")
    story.write(f"@onnx_export('net.keras'){TAIL}\n{export()}\ndef test_torch(onnx_model): pass")
    outcome = story.run(subprocess=True)

    assert outcome.counts() == {"error": 2, "pass": 1}
    assert "not installed" in outcome.text
    assert "pip install 'pytest-onnxprep[tensorflow]'" in outcome.text
    assert "Traceback" not in outcome.text


def test_no_inputs_for_a_torch_module(story):
    """A torch module does not know its inputs: the message shows how to write them."""
    text = told(story, "@onnx_export(build)")

    assert "inputs={" in text


def test_inputs_the_model_refuses(story):
    """A declared shape that the model does not take is told with torch's own words and the shapes."""
    text = told(story, "@onnx_export(build, inputs={'x': 'float32[batch, 7]'})")

    assert "refuses its own example inputs" in text
    assert "float32[2, 7]" in text
    assert "mat1 and mat2" in text


def test_a_missing_model_fixture(story):
    """Without source= and without a fixture ``model`` both are asked for."""
    outcome = story("@onnx_export(inputs=X)" + TAIL)

    assert outcome.counts() == {"error": 2}
    assert "has no model: @onnx_export names no source, and there is no fixture 'model'" in outcome.text
    assert "PASSED test_story.py::test_plain" in outcome.text


def test_a_model_fixture_that_raises(story):
    """A failing fixture is an error, not a finding about the model."""
    outcome = story("@pytest.fixture\ndef model(): raise ValueError('broken fixture')\n@onnx_export(inputs=X)" + TAIL)

    assert outcome.counts() == {"error": 2}
    assert outcome.one("export")["summary"] == "ValueError: broken fixture"


def test_an_unknown_dim_of_a_source_that_knows_its_own(story):
    """dims= and at= are checked against the model's own dims once it is loaded."""
    import torch

    torch.onnx.export(
        torch.nn.Linear(4, 3),
        (torch.ones(2, 4),),
        str(story.path / "net.onnx"),
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
    )
    in_dims = told(story, "@onnx_export('net.onnx', dims={'bach': (1, 4)})")
    outcome = story("@onnx_export('net.onnx')\n@latency_budget(p95_ms=9, at={'bach': 1})\ndef test_x(onnx_model): pass")

    assert "'bach'" in in_dims
    assert "batch" in in_dims
    assert outcome.verdict("latency") == "error"
    assert "'bach'" in outcome.text
    assert "Dims of this model: batch" in outcome.text


def test_a_size_outside_the_range_of_a_source_that_knows_its_own(story):
    """at= outside dims= is refused."""
    test_an_unknown_dim_of_a_source_that_knows_its_own(story)
    outcome = story(
        "@onnx_export('net.onnx')\n@latency_budget(p95_ms=9, at={'batch': 99})\ndef test_x(onnx_model): pass"
    )

    assert outcome.verdict("latency") == "error"
    assert "batch=99 is outside its declared range 1..8" in outcome.text


@pytest.mark.parametrize("exporter", ["tf2onnx", "transformers"])
def test_an_exporter_that_does_not_take_the_source(story, exporter):
    """tf2onnx does not take a torch module; the message lists what does."""
    text = told(story, export(exporter=exporter, opset=18))

    assert exporter in text
    assert "does not take" in text
    assert "dynamo" in text
    assert "torchscript" in text


def test_an_option_the_exporter_does_not_take(story):
    """An unknown option is named, with the ones there are."""
    text = told(story, export(more=", options={'do_constant_foldin': True}"))

    assert "do_constant_foldin" in text
    assert "do_constant_folding" in text


def test_an_option_the_marks_decide(story):
    """Options that the marks set are refused."""
    assert "set by the plugin" in told(story, export(more=", options={'opset_version': 13}"))


def test_an_unwritable_cache(story):
    """A cache that cannot be made is an error with a way out."""
    (story.path / "file").write_text("")
    text = told(story, export(), f"--onnxprep-cache={story.path / 'file'}", cache=False)

    assert "cannot" in text
    assert "--onnxprep-no-cache" in text


GENERATE = {
    "wrong shape": ("lambda dims, rng: {'x': np.zeros((3, 3), 'f')}", ["'x'", "float32[3, 3]", "float32[batch, 4]"]),
    "wrong dtype": ("lambda dims, rng: {'x': np.zeros((dims['batch'], 4))}", ["float64", "float32"]),
    "wrong names": ("lambda dims, rng: {'y': 1}", ["y", "x"]),
    "no mapping": ("lambda dims, rng: [1]", ["list", "x"]),
    "raises": (
        "lambda dims, rng: 1 / 0",
        ["generate: <lambda> (test_story.py:", "ZeroDivisionError: division by zero", "{'batch': 2}"],
    ),
}


@pytest.mark.parametrize(("generate", "needed"), GENERATE.values(), ids=GENERATE)
def test_generate_that_does_not_keep_its_word(story, generate, needed):
    """What generate= makes is checked against inputs=."""
    text = told(story, export(more=f", generate={generate}"))

    assert [word for word in ["generate", *needed] if word not in text] == []


def test_values_that_raise(story):
    """A callable in values= is named when it raises."""
    inputs = "{'x': TensorSpec('float32', 'batch, 4', values=lambda rng, shape: 1 / 0)}"
    text = told(story, f"@onnx_export(build, inputs={inputs}, exporter='torchscript', opset=17)")

    assert "values: <lambda> (test_story.py:" in text
    assert "ZeroDivisionError" in text


SAMPLES = {
    "wrong rank": ("lambda: {'x': np.zeros(4, 'f')}", ["x is float32[4]", "float32[batch, 4]"]),
    "wrong dtype": ("lambda: {'x': np.zeros((2, 4))}", ["float64[2, 4]", "float32"]),
    "wrong size": ("lambda: {'x': np.zeros((2, 5), 'f')}", ["x axis 1 is 5", "4"]),
    "wrong names": ("lambda: {'y': np.zeros((2, 4), 'f')}", ["holds y", "needed: x"]),
    "missing": ("'nowhere.npz'", ["nowhere.npz", "does not exist"]),
    "raises": ("lambda: 1 / 0", ["ZeroDivisionError"]),
    "no mapping": ("lambda: [3]", ["mapping"]),
}


@pytest.mark.parametrize(("samples", "needed"), SAMPLES.values(), ids=SAMPLES)
def test_samples_that_do_not_fit(story, samples, needed):
    """The user's own inputs are held to the declaration too."""
    text = told(story, export(more=f", samples={samples}"))

    assert [word for word in ["sample", *needed] if word not in text] == []


def test_samples_that_cannot_be_read(story):
    """A broken .npz is named."""
    (story.path / "bad.npz").write_bytes(b"no zip")

    assert "bad.npz" in told(story, export(more=", samples='bad.npz'"))


def test_samples_beyond_the_declared_range_are_the_users_own(story):
    """A sample larger than dims= says is checked all the same: the user knows it occurs."""
    np.savez(story.path / "big.npz", x=np.ones((20, 4), "f"))
    outcome = story(export(more=", samples='big.npz'") + "\n@parity()\ndef test_x(onnx_model): pass")

    assert outcome.counts() == {"pass": 2}


def test_an_export_that_fails_is_a_finding(story):
    """What the exporter cannot translate is a fail of the export; the other checks say in a line they had no file."""
    outcome = story("""
        class Eigen(nn.Module):
            def forward(self, x):
                return torch.linalg.eigvals(x @ x.T).real
        @onnx_export(lambda: Eigen(), inputs=X, exporter="torchscript", opset=17)
        @parity()
        @size_budget(mb=1)
        def test_x(onnx_model): pass
        """)

    assert outcome.counts() == {"fail": 3}
    assert "torchscript cannot export the model at opset 17" in outcome.one("export")["summary"]
    assert "eigvals" in outcome.text
    assert "not judged" in outcome.one("size")["summary"]
    assert "pytest_onnxprep/" not in outcome.text.replace(os.getcwd(), "")


def test_a_model_that_cannot_be_pickled(story):
    """A lock and a lambda in a module hinder nothing."""
    outcome = story("""
        import threading
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.lock = threading.Lock()
                self.act = lambda x: torch.relu(x)
                self.fc = nn.Linear(4, 2)
            def forward(self, x):
                with self.lock:
                    return self.act(self.fc(x))
        @onnx_export(lambda: Odd(), inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model): pass
        """)

    assert outcome.counts() == {"pass": 2}


def test_an_unknown_output_in_parity(story):
    """outputs= of parity names the model's outputs."""
    outcome = story(
        export(more=", outputs=['probs']") + "\n@parity(outputs={'prob': (1e-3, 0)})\ndef test_x(onnx_model): pass"
    )

    assert outcome.verdict("parity") == "error"
    assert "no output 'prob'" in outcome.text
    assert "It has: probs" in outcome.text


def test_output_names_that_do_not_fit(story):
    """Two names for one output are refused before anything is exported."""
    text = told(story, export(more=", outputs=['a', 'b']"))

    assert "returns 1 tensors" in text
    assert "2 names were declared" in text


def test_an_exception_in_the_body_is_an_error_and_an_assertion_a_failure(story):
    """The body's own assertion fails the test; anything else it raises breaks it. The user's traceback is shown."""
    outcome = story(
        f"{export()}\ndef test_asserts(onnx_model): assert onnx_model.opset == 3\n"
        f"{export()}\ndef test_raises(onnx_model): raise RuntimeError('in the body')\n"
    )

    assert outcome.verdicts == {
        "test_asserts[torchscript-opset17-export]": "fail",
        "test_raises[torchscript-opset17-export]": "error",
    }
    assert "assert onnx_model.opset == 3" in outcome.text
    assert "in the body" in outcome.text


def test_onnx_model_without_its_mark(story):
    """The fixture says which mark it needs, and what to use in a plain test."""
    outcome = story("def test_x(onnx_model): pass\ndef test_plain(): pass")

    assert "needs @onnx_export on test_x" in outcome.text
    assert "onnx_exporter" in outcome.text
    outcome.result.assert_outcomes(passed=1, errors=1)


def test_an_error_looks_like_an_error(story):
    """Pytest counts it among the errors, a finding among the failures, and neither as the other."""
    outcome = story(
        f"{export('lambda: 42')}\ndef test_broken(onnx_model): pass\n"
        f"{export()}\n@size_budget(nodes=1)\ndef test_large(onnx_model): pass\n"
    )

    outcome.result.assert_outcomes(passed=1, failed=1, errors=1)
    assert outcome.counts() == {"error": 1, "pass": 1, "fail": 1}


def test_names_with_control_characters_do_not_reach_the_terminal(story):
    """A layer's name, a file's name, and what a framework says of them."""
    (story.path / "a\x1b[2Jb.onnx").write_bytes(b"zz")
    outcome = story(
        """
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.add_module("a\\x1b[2J", nn.Linear(4, 2))
            def forward(self, x):
                raise ValueError("no \\x1b[2J\\rPASSED")

        def build_odd():
            return Odd().eval()

        @onnx_export(build_odd, inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_odd(onnx_model):
            pass

        @onnx_export("a\\x1b[2Jb.onnx")
        def test_file(onnx_model):
            pass
        """
    )

    assert outcome.counts() == {"error": 3}
    assert "\x1b[2J" not in outcome.text
    assert "\r" not in outcome.text
    assert "x1b[2J" in outcome.text
