"""A mark that cannot be read is a collection error of its own test: file, line, what is wrong, what is accepted."""

from __future__ import annotations

import pytest

GOOD = """

@onnx_export(build, inputs=X, exporter="torchscript", opset=17)
def test_good(onnx_model): pass

def test_plain(): pass
"""

#: name -> (decorators, what the message must say). ``{EXPORT}`` is a good export.
EXPORT = 'onnx_export(build, inputs=X, exporter="torchscript", opset=17)'
BAD = {
    "malformed shape": ('@onnx_export(build, inputs={"x": "float32[batch, "})', ["inputs['x']", "float32[batch, "]),
    "unknown dtype": ('@onnx_export(build, inputs={"x": "float33[batch]"})', ["float33", "float32"]),
    "no shape": ('@onnx_export(build, inputs={"x": 7})', ["inputs['x']", "accepted"]),
    "unknown keyword": ("@onnx_export(build, input=X)", ["input", "accepted", "inputs"]),
    "dims of nobody": ('@onnx_export(build, inputs=X, dims={"bacth": (1, 4)})', ["bacth", "batch"]),
    "empty range": ('@onnx_export(build, inputs=X, dims={"batch": (4, 1)})', ["batch", "4..1"]),
    "range of three": ('@onnx_export(build, inputs=X, dims={"batch": (1, 2, 3)})', ["batch", "accepted"]),
    "unknown exporter": (
        '@onnx_export(build, inputs=X, exporter="torchscrip")',
        ["torchscrip", "torchscript", "dynamo"],
    ),
    "unknown opset": ('@onnx_export(build, inputs=X, exporter="torchscript", opset=99)', ["99", "7..23"]),
    "opset no exporter makes": ("@onnx_export(build, inputs=X, opset=99)", ["99", "accepted"]),
    "opset below dynamo": ('@onnx_export(build, inputs=X, exporter="dynamo", opset=11)', ["11", "18..", "torchscript"]),
    "opset text": ('@onnx_export(build, inputs=X, opset="17")', ["opset", "integer"]),
    "negative opset": ("@onnx_export(build, inputs=X, opset=-1)", ["opset", "positive"]),
    "repeated opset": ("@onnx_export(build, inputs=X, opset=[17, 17])", ["opset", "repeat"]),
    "generate no function": ("@onnx_export(build, inputs=X, generate=3)", ["generate", "callable"]),
    "options no mapping": ("@onnx_export(build, inputs=X, options=3)", ["options", "mapping"]),
    "none without a file": ('@onnx_export(build, inputs=X, exporter="none")', ["none", "artifact"]),
    "negative atol": (f"@{EXPORT}\n@parity(atol=-1)", ["@parity", "atol", ">= 0"]),
    "nan rtol": (f"@{EXPORT}\n@parity(rtol=float('nan'))", ["@parity", "rtol"]),
    "no examples": (f"@{EXPORT}\n@parity(max_examples=0)", ["@parity", "max_examples"]),
    "unknown oracle": (f"@{EXPORT}\n@parity(oracle='torch')", ["@parity", "oracle", "framework", "onnx"]),
    "unknown metric": (f"@{EXPORT}\n@parity(metrics={{'cosin': 0.9}})", ["@parity", "cosin", "cosine"]),
    "impossible top1": (f"@{EXPORT}\n@parity(min_top1=1.5)", ["@parity", "top1"]),
    "parity keyword": (f"@{EXPORT}\n@parity(tol=1)", ["@parity", "tol", "accepted", "atol"]),
    "negative latency": (f"@{EXPORT}\n@latency_budget(p95_ms=-1)", ["@latency_budget", "p95_ms", "positive"]),
    "unknown unit": (f"@{EXPORT}\n@latency_budget(p95_s=1)", ["@latency_budget", "p95_s", "p95_ms"]),
    "no latency": (f"@{EXPORT}\n@latency_budget()", ["@latency_budget", "p50_ms"]),
    "upside down": (f"@{EXPORT}\n@latency_budget(p50_ms=5, p99_ms=1)", ["@latency_budget", "percentile"]),
    "no threads": (f"@{EXPORT}\n@latency_budget(p50_ms=5, threads=0)", ["@latency_budget", "threads"]),
    "no time": (f"@{EXPORT}\n@latency_budget(p50_ms=5, max_time_s=0)", ["@latency_budget", "max_time_s"]),
    "at unknown dim": (f"@{EXPORT}\n@latency_budget(p95_ms=5, at={{'bach': 1}})", ["@latency_budget", "bach", "batch"]),
    "at outside": (
        f"@{EXPORT}\n@latency_budget(p95_ms=5, at={{'batch': 99}})",
        ["@latency_budget", "batch=99", "1..8"],
    ),
    "at no mapping": (f"@{EXPORT}\n@latency_budget(p95_ms=5, at=7)", ["@latency_budget", "at"]),
    "negative size": (f"@{EXPORT}\n@size_budget(mb=-2)", ["@size_budget", "mb", "positive"]),
    "size text": (f"@{EXPORT}\n@size_budget(mb='14')", ["@size_budget", "mb"]),
    "unknown size unit": (f"@{EXPORT}\n@size_budget(kb=1)", ["@size_budget", "kb", "mb"]),
    "no size": (f"@{EXPORT}\n@size_budget()", ["@size_budget", "mb", "nodes"]),
    "parity alone": ("@parity()", ["@parity", "onnx_export"]),
    "size alone": ("@size_budget(mb=1)", ["@size_budget", "onnx_export"]),
    "latency alone": ("@latency_budget(p95_ms=1)", ["@latency_budget", "onnx_export"]),
}


@pytest.mark.parametrize(("decorators", "needed"), BAD.values(), ids=BAD)
def test_a_bad_mark_is_told_with_its_line(story, decorators, needed):
    """The message has file:line of the decorator, the mark, the value and what is accepted; no traceback of ours."""
    story.write(f"{decorators}\ndef test_bad(): pass\n")
    lines = (story.path / "test_story.py").read_text().splitlines()
    wrong = decorators.splitlines()[-1]
    outcome = story.run()

    message = next(line for line in outcome.result.outlines if "test_story.py:" in line and "@" in line)
    assert f"test_story.py:{lines.index(wrong) + 1}: @" in message
    told = outcome.text[outcome.text.index(message) :]
    assert [word for word in needed if word not in told] == []
    assert "pytest_onnxprep/" not in outcome.text
    assert "Traceback" not in outcome.text
    assert outcome.result.ret != 0


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ('TensorSpec("float32", "b", values="norml")', ["norml", "normal"]),
        ('TensorSpec("float32", "b", low=2, high=1)', ["2..1", "low <= high"]),
        ('TensorSpec("floaty", "b")', ["floaty", "float32"]),
        ('TensorSpec("uint8", "b", low=-1)', ["-1", "uint8", "0..255"]),
        ('TensorSpec("int8", "b", high=300)', ["300", "int8", "-127..128"]),
        ("Dim(4, 1)", ["4..1", "min <= max"]),
        ("Dim(1, 8, multiple_of=32)", ["multiple of 32", "1..8"]),
    ],
)
def test_a_bad_spec_is_told_with_its_line(story, spec, needed):
    """TensorSpec and Dim check themselves while the file is imported; the error names the user's line, not ours."""
    story.write(f"broken = {spec}\n")
    line = (story.path / "test_story.py").read_text().splitlines().index(f"broken = {spec}") + 1
    text = story.run().text

    assert f"test_story.py:{line}: " in text
    assert [word for word in needed if word not in text] == []
    assert "pytest_onnxprep/" not in text


def test_the_other_tests_of_the_file_still_run(story):
    """A bad mark costs its own test only."""
    outcome = story(GOOD + "\n@onnx_export(build, inputs=X, opset=99)\ndef test_bad(onnx_model): pass")

    assert outcome.verdicts == {"test_good[torchscript-opset17-export]": "pass"}
    outcome.result.assert_outcomes(passed=2, errors=1)
    assert outcome.result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_bad_mark_of_a_class_costs_that_class(story):
    """The tests of other classes still run."""
    outcome = story(
        GOOD
        + """
@onnx_export(build, inputs=X, opset=99)
class TestBad:
    def test_a(self, onnx_model): pass
"""
    )

    assert outcome.counts() == {"pass": 1}
    outcome.result.assert_outcomes(passed=2, errors=1)


def test_other_collection_errors_stop_the_run_as_ever(story):
    """A file that cannot be imported interrupts the session as it does without the plugin."""
    story.pytester.makepyfile(test_broken="import nothing_of_that_name")
    outcome = story(GOOD + "\n@onnx_export(build, inputs=X, opset=99)\ndef test_bad(onnx_model): pass")

    assert outcome.result.ret == pytest.ExitCode.INTERRUPTED
    assert outcome.verdicts == {}


def test_every_bad_mark_is_reported_at_once(story):
    """Two bad tests give two messages in one run."""
    outcome = story(
        "@onnx_export(build, inputs=X, opset=99)\ndef test_a(): pass\n"
        f"@{EXPORT}\n@size_budget(mb=-1)\ndef test_b(): pass\n"
    )

    assert "@onnx_export: " in outcome.text
    assert "@size_budget: " in outcome.text
    outcome.result.assert_outcomes(errors=2)
