"""``--onnxprep-isolate``: crashes of exporters and files made elsewhere fail a test, and the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.runtime import isolation, watchdog
from pytest_onnxprep.runtime.isolation import Ended


@pytest.fixture(autouse=True)
def as_before() -> Any:
    """The stories run in this process, whose switch they set."""
    yield
    isolation.enable(False)
    isolation._State.proven.clear()


CRASHING = """
import os, signal

class Crashing(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.end = end
    def forward(self, x):
        if torch.jit.is_tracing():  # only while it is exported
            os._exit(3) if self.end == "exit" else os.kill(os.getpid(), signal.SIGSEGV)
        return x + 1

def build_crashing():
    return Crashing("crash").eval()

def build_exiting():
    return Crashing("exit").eval()

@onnx_export(build_crashing, inputs=X, exporter="torchscript", opset=17)
@parity()
def test_crash(onnx_model):
    pass

@onnx_export(build_exiting, inputs=X, exporter="torchscript", opset=17)
def test_exit(onnx_model):
    pass

@onnx_export(build, inputs=X, exporter="torchscript", opset=17)
@parity()
def test_sound(onnx_model):
    assert onnx_model.operators["Gemm"] == 2
"""


def test_an_exporter_that_crashes_fails_its_test_alone(story: Any) -> None:
    """The signal is named, with what to do; the other tests of the run are checked as ever."""
    outcome = story(CRASHING, "--onnxprep-isolate", cache=False)

    found = {(record["test"], record["check"]): record for record in outcome.records.values()}
    crash = found["test_crash", "export"]
    assert crash["verdict"] == "fail"
    assert crash["summary"] == "exporter 'torchscript' crashed with SIGSEGV (segmentation fault)"
    assert "it would have ended the whole run" in outcome.text
    assert "in forward" in outcome.text  # of the child's own trace
    assert found["test_crash", "parity"]["verdict"] == "fail"
    assert found["test_exit", "export"]["summary"] == "exporter 'torchscript' ended the process with exit status 3"
    assert found["test_sound", "export"]["verdict"] == found["test_sound", "parity"]["verdict"] == "pass"
    assert "not isolated" not in found["test_sound", "export"]["summary"]


def test_what_an_isolated_exporter_says_is_told_as_ever(story: Any) -> None:
    """A refusal of the converter, and what the tracer froze, look the same from a child."""
    source = """
    class Fft(nn.Module):
        def forward(self, x):
            return torch.linalg.lstsq(x, x).solution

    def build_fft():
        return Fft().eval()

    @onnx_export(build_fft, inputs=X, exporter="torchscript", opset=17)
    def test_refused(onnx_model):
        pass

    @onnx_export(build_branches, inputs=X, exporter="torchscript", opset=17)
    @parity()
    def test_branches(onnx_model):
        pass
    """
    apart, here = (story(source, *flags, cache=False) for flags in (["--onnxprep-isolate"], []))

    def told(outcome: Any) -> dict[str, tuple[str, str]]:
        return {name: (record["verdict"], record["summary"]) for name, record in outcome.records.items()}

    exports = [name for name in told(here) if name.endswith("export]")]
    assert {n: told(apart)[n][0] for n in told(apart)} == {n: told(here)[n][0] for n in told(here)}
    assert told(apart)[exports[0]] == told(here)[exports[0]]
    assert "has no translation of aten::linalg_lstsq" in told(apart)[exports[0]][1]


def test_a_factory_no_other_process_finds_is_exported_here(story: Any) -> None:
    """It is said in the summary, with what to write instead."""
    outcome = story(
        """
        @onnx_export(lambda: build(), inputs=X, exporter="torchscript", opset=17)
        def test_lambda(onnx_model):
            pass

        def test_live(onnx_exporter):
            model = onnx_exporter(build(), inputs=X, exporter="torchscript", opset=16)
            assert "give a factory or a path" in model.provenance["not_isolated"]
        """,
        "--onnxprep-isolate",
        cache=False,
    )

    assert outcome.verdict("export") == "pass"
    assert (
        "not isolated: another process cannot find <lambda>; write the factory at the top"
        in outcome.one("export")["summary"]
    )
    outcome.result.assert_outcomes(passed=2)


def test_the_stages_of_a_pipeline_are_exported_apart_too(story: Any) -> None:
    """A crash in one of them fails its test alone, with the stage's name; one that no process finds is told."""
    outcome = story(
        CRASHING.partition("@onnx_export")[0]
        + """
@onnx_export(Pipeline([build_crashing]), inputs=X, exporter="torchscript", opset=17)
def test_crash(onnx_model):
    pass

@onnx_export(Pipeline([("here", lambda: build())]), inputs=X, exporter="torchscript", opset=17)
def test_here(onnx_model):
    pass
""",
        "--onnxprep-isolate",
        cache=False,
    )

    summaries = {record["test"]: record["summary"] for record in outcome.records.values()}
    assert summaries["test_crash"].startswith("stage 'crashing': exporter 'torchscript' crashed with SIGSEGV")
    assert "; here not isolated: another process cannot find <lambda>" in summaries["test_here"]
    outcome.result.assert_outcomes(passed=1, failed=1)


def test_a_factory_without_a_seed_is_told(story: Any) -> None:
    """The child would export another model than the one it is compared with."""
    outcome = story(
        """
        def build_random():
            torch.seed()
            return nn.Linear(4, 2).eval()

        @onnx_export(build_random, inputs=X, exporter="torchscript", opset=17)
        def test_random(onnx_model):
            pass
        """,
        "--onnxprep-isolate",
        cache=False,
    )

    assert outcome.verdict("export") == "error"
    assert "the factory gives another model in another process" in outcome.one("export")["summary"]


def hungry(path: Path) -> Path:
    """Six gigabytes, computed from constants so that no shape inference tells."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Mul", ["a", "b"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    sizes = [
        numpy_helper.from_array(np.array([number], np.int64), name) for name, number in (("a", 1500), ("b", 10**6))
    ]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, ["n"])], [value("y", TensorProto.FLOAT, ["n"])], sizes
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def endless(path: Path) -> Path:
    """A loop that never ends."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)],
        "g",
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("y", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array(True), "yes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


FILES = """
@onnx_export("{name}.onnx")
@parity()
def test_file(onnx_model):
    pass

@onnx_export(build, inputs=X, exporter="torchscript", opset=17)
def test_sound(onnx_model):
    pass
"""


@pytest.mark.parametrize(
    ("make", "limit_s", "message"),
    [(hungry, 120.0, "it asks for more memory than a model of its size may"), (endless, 8.0, "took longer than 8 s")],
)
def test_a_file_that_eats_memory_or_never_ends_is_stopped(
    story: Any, monkeypatch: pytest.MonkeyPatch, make: Any, limit_s: float, message: str
) -> None:
    """In the child, before it is loaded here; the other tests of the run are checked as ever."""
    monkeypatch.setattr(isolation, "LOAD_S", limit_s)
    make(story.path / f"{make.__name__}.onnx")

    outcome = story(FILES.format(name=make.__name__), "--onnxprep-isolate")

    found = {(record["test"], record["check"]): record for record in outcome.records.values()}
    assert found["test_file", "export"]["verdict"] == "error"
    assert message in found["test_file", "export"]["summary"]
    assert message in found["test_file", "parity"]["summary"]
    assert found["test_sound", "export"]["verdict"] == "pass"


def test_hostile_files_are_errors_and_the_run_goes_on(story: Any) -> None:
    """Without isolation, too: as a source and as an artifact; nothing is written beside the user's files."""
    outside = story.path.parent / "secret.bin"
    outside.write_bytes(b"\0" * 12)
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../secret.bin")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 3])],
        [value("y", TensorProto.FLOAT, ["n", 3])],
        [weight],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (story.path / "leak.onnx").write_bytes(proto.SerializeToString())
    (story.path / "cut.onnx").write_bytes(proto.SerializeToString()[:-9])

    outcome = story(
        """
        @onnx_export("leak.onnx")
        @parity()
        def test_leak(onnx_model):
            pass

        @onnx_export("cut.onnx")
        def test_cut(onnx_model):
            pass

        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        @latency_budget(min_speedup=1.01, against="leak.onnx")
        def test_rival(onnx_model):
            pass

        @onnx_export(lambda: nn.ReLU().eval(), inputs=X, artifact="cut.onnx")
        def test_artifact(onnx_model):
            pass

        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        def test_sound(onnx_model):
            pass
        """
    )

    found = {(record["test"], record["check"]): record for record in outcome.records.values()}
    verdicts = {key: record["verdict"] for key, record in found.items()}
    assert verdicts["test_leak", "export"] == verdicts["test_leak", "parity"] == "error"
    assert "tensor 'w' keeps its data outside the file's folder" in found["test_leak", "export"]["summary"]
    assert (verdicts["test_cut", "export"], verdicts["test_artifact", "export"]) == ("error", "fail")
    assert verdicts["test_rival", "latency"] == "error"
    assert "keeps its data outside" in found["test_rival", "latency"]["summary"]
    assert verdicts["test_sound", "export"] == "pass"
    assert outside.read_bytes() == b"\0" * 12


def test_a_sound_file_is_taken_as_ever(story: Any) -> None:
    """A source and an artifact, each proven in a child first."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, ["n", 4])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, story.path / "relu.onnx")

    outcome = story(
        """
        def build_relu():
            return nn.ReLU().eval()

        @onnx_export(build_relu, inputs=X, artifact="relu.onnx")
        @parity()
        def test_artifact(onnx_model):
            pass

        @onnx_export("relu.onnx")
        @parity()
        def test_file(onnx_model):
            pass
        """,
        "--onnxprep-isolate",
    )

    assert outcome.counts() == {"pass": 4}
    assert len(isolation._State.proven) == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "took longer than 60 s and was stopped"),
        (1, "ended the process with exit status 1"),
        (-6, "crashed with SIGABRT (aborted)"),
        (-9, "crashed with SIGKILL (killed from outside, mostly because memory ran out)"),
        (-10, "crashed with SIGUSR1"),
        (-99, "crashed with signal 99"),
    ],
)
def test_how_a_child_ended_is_told_in_words(status: int | None, words: str) -> None:
    """Signals by name, with what they mean."""
    assert Ended(status, "").words(60) == words


def test_a_run_that_never_ends_on_later_inputs_is_stopped(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first run in a child knew nothing of it; the other items are checked as ever."""
    monkeypatch.setattr(watchdog, "SECONDS", 1.0)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, [1])],
        [value("d", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, [1])],
    )
    nodes = [  # only where there are more than six rows
        helper.make_node("Shape", ["x"], ["rows"], end=1),
        helper.make_node("Greater", ["rows", "six"], ["many"]),
        helper.make_node("Where", ["many", "most", "none"], ["turns"]),
        helper.make_node("Loop", ["turns", "yes", "zero"], ["v"], body=body),
        helper.make_node("Add", ["x", "v"], ["y"]),
    ]
    numbers = {"six": [6], "most": [30_000_000], "none": [0]}
    given = [numpy_helper.from_array(np.array(number, np.int64), name) for name, number in numbers.items()]
    given += [numpy_helper.from_array(np.array(True), "yes"), numpy_helper.from_array(np.zeros(1, "f4"), "zero")]
    ends = [value(name, TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], given)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), story.path / "late.onnx"
    )

    outcome = story(FILES.format(name="late"))

    found = {(record["test"], record["check"]): record for record in outcome.records.values()}
    assert found["test_file", "export"]["verdict"] == "pass"
    assert found["test_file", "parity"]["verdict"] == "error"
    assert "a run was stopped, as it did not come to an end within 1 s" in found["test_file", "parity"]["summary"]
    assert found["test_sound", "export"]["verdict"] == "pass"
