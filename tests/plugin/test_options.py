"""Every ``--onnxprep-*`` option, the ini key of the same name, and what neither accepts."""

from __future__ import annotations

import json

import pytest

ONE = """
@onnx_export(build, inputs=X, exporter="torchscript", opset=17)
@parity()
@size_budget(nodes={nodes})
def test_x(onnx_model): pass
"""
GOOD = ONE.format(nodes=100)
BAD = ONE.format(nodes=1)

#: One call cannot tell a 99th percentile.
UNDECIDED = """
@onnx_export(build, inputs=X, exporter="torchscript", opset=17)
@latency_budget(p99_ms=500, max_time_s=1e-6)
def test_x(onnx_model): pass
"""


@pytest.fixture
def undecided(story):
    """A latency check that cannot tell."""
    return story.write(UNDECIDED)


def ini(story, *lines):
    """Write the ini file."""
    story.pytester.makeini("\n".join(["[pytest]", *lines]))


# --onnxprep-json ------------------------------------------------------------------------------------------------------


def test_the_json_report_has_the_agreed_form(story):
    """Schema, environment and a result per check with exactly the agreed keys."""
    outcome = story(BAD)
    report = outcome.report

    assert report["schema"] == "onnxprep-report/1"
    assert set(report["environment"]) >= {"python", "packages", "cpu"}
    assert {"onnxruntime", "onnx", "torch"} <= set(report["environment"]["packages"])
    assert len(report["results"]) == 3
    for record in report["results"]:
        assert set(record) == {
            "nodeid",
            "test",
            "check",
            "variant",
            "verdict",
            "summary",
            "figures",
            "duration_s",
        }
        assert record["test"] == "test_x"
        assert record["variant"] == {"exporter": "torchscript", "opset": 17}
        assert record["nodeid"] == f"test_story.py::test_x[torchscript-opset17-{record['check']}]"
        assert record["duration_s"] >= 0
        assert "\n" not in record["summary"]
        assert record["summary"]


def test_the_figures_of_each_check(story):
    """Each check reports what it measured."""
    outcome = story(GOOD)

    assert set(outcome.one("export")["figures"]) >= {"export_s", "cached", "nodes", "mb", "opset", "operators"}
    assert set(outcome.one("parity")["figures"]) >= {"examples", "refused", "max_abs", "worst_output", "tightest"}
    assert set(outcome.one("size")["figures"]) >= {"mb", "weights_mb", "nodes", "budget"}
    assert outcome.one("export")["figures"]["opset"] == 17


def test_a_failing_parity_has_the_agreed_figures(story):
    """max_abs, worst_output and the minimal example with dims and seed."""
    outcome = story(GOOD.replace("build,", "build_branches,"))
    figures = outcome.one("parity")["figures"]

    assert figures["max_abs"] > 0
    assert figures["worst_output"] == "output"
    assert figures["minimal"]["dims"]["batch"] > 4
    assert isinstance(figures["minimal"]["seed"], int)


@pytest.mark.parametrize("source", ["def test_plain(): pass", "", "import nothing_there"])
def test_the_json_report_is_written_when_nothing_was_checked(story, source):
    """No marked test, no test at all, a file that cannot be imported: there is a report with no results."""
    outcome = story(source)

    assert outcome.report["schema"] == "onnxprep-report/1"
    assert outcome.report["results"] == []


def test_the_json_report_makes_its_folder(story):
    """A report path in a folder that is not there is no reason to lose the report."""
    story.write(GOOD).run("--onnxprep-json=reports/deep/out.json", "-m", "size_budget")

    assert json.loads((story.path / "reports/deep/out.json").read_text())["results"]


def test_a_report_that_cannot_be_written_is_told(story):
    """The message names the file; the exit code is not 0."""
    (story.path / "file").write_text("")
    outcome = story.write(GOOD).run("--onnxprep-json=file/out.json", "-m", "size_budget")

    assert "file/out.json" in outcome.text
    assert outcome.result.ret != 0


def test_the_json_report_of_a_stopped_run(story):
    """After -x the report holds what was run."""
    outcome = story(BAD.replace("test_x", "test_a") + BAD.replace("test_x", "test_b"), "-x")

    assert outcome.counts() == {"pass": 2, "fail": 1}


# the other options ----------------------------------------------------------------------------------------------------


def test_markdown(story):
    """--onnxprep-markdown writes a table with a row for the variant."""
    story(BAD, "--onnxprep-markdown=out.md")
    text = (story.path / "out.md").read_text()

    assert "| " in text
    assert "|--" in text.replace(" ", "").replace(":", "")
    assert "test_x" in text
    assert "torchscript" in text
    assert "fail" in text


@pytest.mark.parametrize("number", [1, 7, 33])
def test_examples(story, number):
    """--onnxprep-examples is the number of parity examples, corners included."""
    outcome = story(GOOD, f"--onnxprep-examples={number}")

    assert outcome.one("parity")["figures"]["examples"] == number


def test_max_examples_of_the_mark_wins(story):
    """The mark knows better than the option."""
    outcome = story(GOOD.replace("@parity()", "@parity(max_examples=5)"), "--onnxprep-examples=9")

    assert outcome.one("parity")["figures"]["examples"] == 5


def test_cache(story):
    """--onnxprep-cache keeps exports in the folder it names, and finds them there."""
    flags = (f"--onnxprep-cache={story.path / 'kept'}",)
    first = story(GOOD, *flags, cache=False)
    second = story(GOOD, *flags, cache=False)

    assert [first.one("export")["figures"]["cached"], second.one("export")["figures"]["cached"]] == [False, True]
    assert list((story.path / "kept").rglob("model.onnx"))


def test_the_default_cache_is_beside_the_project(story):
    """Without an option, exports are kept in .onnxprep/cache below the root folder."""
    story(GOOD, cache=False)

    assert list((story.path / ".onnxprep" / "cache").rglob("model.onnx"))


def test_no_cache(story):
    """--onnxprep-no-cache exports afresh and leaves nothing in the project."""
    runs = [story(GOOD, "--onnxprep-no-cache", cache=False) for _ in range(2)]

    assert [run.one("export")["figures"]["cached"] for run in runs] == [False, False]
    assert not (story.path / ".onnxprep").exists()


@pytest.mark.parametrize("name", ["cpu", "CPUExecutionProvider"])
def test_provider(story, name):
    """--onnxprep-provider takes the short and the full name."""
    outcome = story("@onnx_export(build, inputs=X, exporter='torchscript', opset=17)\n"
                    "def test_x(onnx_model): assert onnx_model.session.get_providers() == ['CPUExecutionProvider']",
                    f"--onnxprep-provider={name}")  # fmt: skip

    assert outcome.counts() == {"pass": 1}


@pytest.mark.parametrize("cache", [True, False])
def test_an_unknown_provider(story, cache):
    """A name nobody knows is an error that lists the providers there are, whether the export was cached or not."""
    outcome = story(GOOD, "--onnxprep-provider=cudda", *([] if cache else ["--onnxprep-no-cache"]))

    assert set(outcome.verdicts.values()) <= {"error"}
    assert "'cudda'" in outcome.text
    assert "Available: " in outcome.text
    assert "CPUExecutionProvider" in outcome.text
    assert "pytest_onnxprep/" not in outcome.text
    assert outcome.result.ret != 0


def test_an_unavailable_provider(story):
    """A provider that this ONNX Runtime was built without is an error too, not a silent fall back to the CPU."""
    outcome = story(GOOD, "--onnxprep-provider=coreml")

    assert set(outcome.verdicts.values()) <= {"error"}
    assert "CoreMLExecutionProvider is not part of this ONNX Runtime" in outcome.text


# --onnxprep-on-inconclusive -------------------------------------------------------------------------------------------


def test_inconclusive_passes_by_default_with_a_status_of_its_own(undecided):
    """It is no pass, no skip and no failure in the count, and shown as `i` and INCONCLUSIVE."""
    quiet = undecided.run()
    loud = undecided.run("-v")

    assert quiet.verdict("latency") == "inconclusive"
    assert quiet.result.ret == 0
    assert "1 inconclusive" in quiet.result.outlines[-1]
    assert any(line.startswith("test_story.py .i") for line in quiet.result.outlines)
    assert "INCONCLUSIVE" in loud.text
    assert "raise max_time_s" in quiet.text


def test_inconclusive_may_skip(undecided):
    """``skip`` makes it pytest's skip, with the reason; the report still says inconclusive."""
    outcome = undecided.run("--onnxprep-on-inconclusive=skip")

    outcome.result.assert_outcomes(passed=1, skipped=1)
    assert outcome.verdict("latency") == "inconclusive"
    assert "inconclusive: " in outcome.text


def test_inconclusive_may_fail(undecided):
    """``fail`` fails the item; the report still says inconclusive."""
    outcome = undecided.run("--onnxprep-on-inconclusive=fail")

    outcome.result.assert_outcomes(passed=1, failed=1)
    assert outcome.verdict("latency") == "inconclusive"
    assert outcome.result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_real_inconclusive_latency(story):
    """A 99th percentile cannot be told from a few calls in a millisecond of sampling."""
    outcome = story("""
        class Slow(nn.Module):
            def forward(self, x):
                for _ in range(20):
                    x = torch.tanh(x @ x.transpose(0, 1) @ x)
                return x
        @onnx_export(lambda: Slow(), inputs={"x": "float32[256, 256]"}, exporter="torchscript", opset=17)
        @latency_budget(p99_ms=200, max_time_s=0.001)
        def test_x(onnx_model): pass
        """)

    assert outcome.verdict("latency") == "inconclusive"
    assert "raise max_time_s" in outcome.one("latency")["summary"]
    assert outcome.result.ret == 0


# ini keys and bad values ----------------------------------------------------------------------------------------------


def test_every_option_is_an_ini_key(story):
    """Paths, numbers and modes may be written into the ini file."""
    ini(story, "onnxprep_markdown = out.md", "onnxprep_cache = kept", "onnxprep_provider = cpu")
    story(GOOD, cache=False)

    assert (story.path / "out.md").is_file()
    assert list((story.path / "kept").rglob("model.onnx"))


def test_the_json_ini_key(story):
    """onnxprep_json writes the report without an option."""
    ini(story, "onnxprep_json = out.json", "onnxprep_examples = 3")
    story.write(GOOD)
    story.pytester.runpytest_inprocess("-p", "no:cacheprovider")
    results = json.loads((story.path / "out.json").read_text())["results"]

    assert [record["figures"]["examples"] for record in results if record["check"] == "parity"] == [3]


def test_the_no_cache_ini_key(story):
    """onnxprep_no_cache leaves nothing in the project."""
    ini(story, "onnxprep_no_cache = true")
    story(GOOD, cache=False)

    assert not (story.path / ".onnxprep").exists()


def test_the_inconclusive_ini_key(undecided):
    """onnxprep_on_inconclusive sets the mode."""
    ini(undecided, "onnxprep_on_inconclusive = fail")

    undecided.run().result.assert_outcomes(passed=1, failed=1)


def test_the_command_line_beats_the_ini_file(story):
    """An option given twice counts as written on the command line."""
    ini(story, "onnxprep_examples = 3")
    outcome = story(GOOD, "--onnxprep-examples=8")

    assert outcome.one("parity")["figures"]["examples"] == 8


@pytest.mark.parametrize(
    ("option", "value", "accepted"),
    [
        ("examples", "0", ">= 1"),
        ("examples", "many", ">= 1"),
        ("examples", "-3", ">= 1"),
        ("examples", "2.5", ">= 1"),
        ("on-inconclusive", "maybe", "pass, skip, fail"),
    ],
)
@pytest.mark.parametrize("place", ["line", "ini"])
def test_bad_values_are_refused_before_anything_runs(story, option, value, accepted, place):
    """The message names the option, the value and what is accepted, from the command line and from the ini file."""
    story.write(GOOD)
    if place == "ini":
        ini(story, f"onnxprep_{option.replace('-', '_')} = {value}")
    line = ["-p", "no:cacheprovider", *([f"--onnxprep-{option}={value}"] if place == "line" else [])]
    result = story.pytester.runpytest_inprocess(*line)
    text = result.stdout.str() + result.stderr.str()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"onnxprep-{option}" in text
    assert value in text
    assert accepted in text
    assert "Traceback" not in text


def test_help_lists_every_option(story):
    """``pytest --help`` shows every option and every ini key."""
    text = story.run("--help").text

    for name in ("json", "markdown", "examples", "cache", "no-cache", "provider", "on-inconclusive"):
        assert f"--onnxprep-{name}" in text
        assert f"onnxprep_{name.replace('-', '_')}" in text


def test_an_unwritable_report_does_not_hide_the_failures(story):
    """The run's own failures stay on the screen; the exit code and a line say that the report is missing."""
    blocked = story.path / "file"
    blocked.write_text("")
    story.write("""
        @onnx_export(build, inputs=X, opset=17)
        def test_x(onnx_model):
            assert onnx_model.opset == 18
        """)

    result = story.pytester.runpytest_inprocess(f"--onnxprep-json={blocked / 'report.json'}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*assert 17 == 18*", "*ERROR: *report.json*"])
