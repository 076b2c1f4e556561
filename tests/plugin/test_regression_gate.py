"""Gates on another model's latency: baselines, the framework, other variants, files.

The models differ by a factor of tens, so that no machine is too busy to tell.
"""

from __future__ import annotations

import json

import pytest

MODELS = """
class Chain(nn.Module):
    def __init__(self, layers, width=128):
        super().__init__()
        self.layers = nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)])
    def forward(self, x):
        return self.layers(x)

def build_chain():
    torch.manual_seed(0)
    width = int(os.environ.get("CHAIN_WIDTH", 128))
    return Chain(int(os.environ["CHAIN_LAYERS"]), width).eval()

CHAIN = {"x": f"float32[batch, {os.environ.get('CHAIN_WIDTH', 128)}]"}
TS = {"exporter": "torchscript", "opset": 17}
"""
GATE = (
    MODELS
    + """
@onnx_export(build_chain, inputs=CHAIN, **TS)
@latency_budget(max_regression="50%", at={"batch": 8})
def test_gate(onnx_model): pass
"""
)
LATENCY = ["-m", "latency_budget"]


@pytest.fixture
def run(story, monkeypatch):
    """Write a story and run its latency items with a model of so many layers."""

    def run_with(layers, *args, source=GATE, width=128, **options):
        monkeypatch.setenv("CHAIN_LAYERS", str(layers))
        monkeypatch.setenv("CHAIN_WIDTH", str(width))
        return story(source, *LATENCY, *args, **options)

    return run_with


def figures(outcome):
    """Of the only latency item."""
    return outcome.one("latency")["figures"]


def test_a_slower_model_fails_and_a_faster_one_passes(run, story):
    """Forty times the work fails by a wide margin, a fortieth passes; both say what they were compared with."""
    saved = run(2, "--onnxprep-save-baseline=base")
    assert saved.verdict("latency") == "skip"
    assert "saved as the baseline" in saved.one("latency")["summary"]
    slower = run(80, "--onnxprep-baseline=base", "--benchmark-json=bench.json")
    extra = json.loads((story.path / "bench.json").read_text())["benchmarks"][0]["extra_info"]["onnxprep"]

    assert slower.verdict("latency") == extra["verdict"] == "fail"
    assert "slower than the baseline of 20" in slower.one("latency")["summary"]
    assert "max_regression is 50 %" in slower.text
    assert "operators, the other -> this: Gemm 2 -> 80" in slower.text
    assert figures(slower)["regression"] == extra["regression"] > 3
    assert figures(slower)["baseline"]["same_machine"] is True
    assert figures(slower)["n"] == len(
        json.loads((story.path / "bench.json").read_text())["benchmarks"][0]["stats"]["data"]
    )

    run(80, "--onnxprep-save-baseline=big")
    faster = run(2, "--onnxprep-baseline=big")
    assert faster.verdict("latency") == "pass"
    assert "faster than the baseline" in faster.one("latency")["summary"]


def test_the_same_file_never_fails(run):
    """It is played all the same, and is known to be the baseline's."""
    run(20, "--onnxprep-save-baseline=base")
    outcome = run(20, "--onnxprep-baseline=base")

    assert outcome.verdict("latency") in ("pass", "inconclusive")
    assert figures(outcome)["baseline"]["identical"] is True
    assert figures(outcome)["comparisons"][0]["pairs"] >= 7


def test_without_a_baseline_nothing_passes(run, story):
    """No option: skipped, with what to do. No folder, or nothing in it for this test: inconclusive, with the reason."""
    no_option = run(2)
    assert no_option.verdict("latency") == "skip"
    assert "no --onnxprep-baseline DIR was given" in no_option.one("latency")["summary"]
    assert "--onnxprep-save-baseline DIR on the main branch" in no_option.one("latency")["summary"]

    no_folder = run(2, "--onnxprep-baseline=nowhere")
    assert no_folder.verdict("latency") == "inconclusive"
    assert "there is no such folder" in no_folder.one("latency")["summary"]

    (story.path / "empty").mkdir()
    nothing = run(2, "--onnxprep-baseline=empty", "--onnxprep-on-inconclusive=fail")
    nothing.result.assert_outcomes(failed=1, deselected=1)
    assert "it has none for this test and variant" in nothing.text
    assert "test_story.py::test_gate[torchscript-opset17]" in nothing.text


def test_the_first_run_saves(run, story):
    """Comparing and saving at once, with nothing to compare with yet, is no failure even where inconclusive is one."""
    both = ("--onnxprep-baseline=base", "--onnxprep-save-baseline=base", "--onnxprep-on-inconclusive=fail")
    first = run(2, *both, source=GATE.replace("max_regression=", "p50_ms=5000, max_regression="))

    assert first.verdict("latency") == "pass"
    assert "there is no baseline yet in" in first.one("latency")["summary"]
    assert list((story.path / "base").glob("*.json"))


def test_a_changed_signature_is_not_compared(run):
    """The change is named, and what to do about it."""
    run(2, "--onnxprep-save-baseline=base")
    outcome = run(2, "--onnxprep-baseline=base", width=64)

    assert outcome.verdict("latency") == "inconclusive"
    assert "input 'x' was float32[?, 128], is float32[?, 64]" in outcome.one("latency")["summary"]
    assert figures(outcome)["baseline"]["signature_changes"]


def test_another_machine_is_said_and_compared_all_the_same(run, story):
    """Both files run here, side by side, so the verdict stands; the message says where the baseline came from."""
    run(80, "--onnxprep-save-baseline=base")
    (record,) = (story.path / "base").glob("*.json")
    told = json.loads(record.read_text())
    told["environment"]["cpu"]["model"] = "Another CPU"
    record.write_text(json.dumps(told))
    outcome = run(2, "--onnxprep-baseline=base")

    assert outcome.verdict("latency") == "pass"
    assert "made on another machine (cpu model was Another CPU, is " in outcome.one("latency")["summary"]
    assert figures(outcome)["baseline"]["same_machine"] is False


def test_a_damaged_baseline_is_an_error(run, story):
    """Neither a pass nor a skip."""
    run(2, "--onnxprep-save-baseline=base")
    (model,) = (story.path / "base" / "models").rglob("model.onnx")
    model.unlink()
    outcome = run(2, "--onnxprep-baseline=base")

    assert outcome.verdict("latency") == "error"
    assert "is missing" in outcome.one("latency")["summary"]


def test_all_of_a_mark_must_hold(run):
    """A regression fails an item whose absolute budget holds, the message says which did not; and the reverse."""
    source = GATE.replace("max_regression=", "p50_ms=5000, max_regression=")
    saved = run(2, "--onnxprep-save-baseline=base", source=source)
    assert saved.verdict("latency") == "pass"

    slower = run(80, "--onnxprep-baseline=base", source=source)
    assert slower.verdict("latency") == "fail"
    assert "met: p50 " in slower.text
    assert figures(slower)["budget"] == {"p50_ms": 5000}

    over = source.replace("p50_ms=5000", "p50_ms=0.0001")
    run(80, "--onnxprep-save-baseline=big", source=source)
    missed = run(2, "--onnxprep-baseline=big", source=over)
    assert missed.verdict("latency") == "fail"
    assert "met: " in missed.text
    assert missed.one("latency")["summary"].startswith("p50 ")


def test_a_budget_that_holds_does_not_hide_a_baseline_that_is_not_there(run):
    """Without --onnxprep-baseline the whole is inconclusive, though the absolute budget passed."""
    outcome = run(2, source=GATE.replace("max_regression=", "p50_ms=5000, max_regression="))

    assert outcome.verdict("latency") == "inconclusive"
    assert "no --onnxprep-baseline DIR was given" in outcome.one("latency")["summary"]


def test_a_model_that_fails_is_not_saved(run, story):
    """A regression does not become the next baseline by being run once more."""
    run(2, "--onnxprep-save-baseline=base")
    before = sorted(path.name for path in (story.path / "base" / "models").iterdir())
    outcome = run(80, "--onnxprep-baseline=base", "--onnxprep-save-baseline=base")

    assert outcome.verdict("latency") == "fail"
    assert "not saved as a baseline" in outcome.one("latency")["summary"]
    assert sorted(path.name for path in (story.path / "base" / "models").iterdir()) == before


def test_keys_do_not_depend_on_the_run(run, story):
    """Parameters and variant are part of a baseline's key; check, sizes and xdist's group are not."""
    source = (
        MODELS
        + """
@pytest.mark.parametrize("name", ["a-latency", "b"])
@onnx_export(build_chain, inputs=CHAIN, **TS)
@latency_budget(max_regression="50%", at=[{"batch": 1}, {"batch": 2}], max_time_s=0.2)
class TestChain:
    def test_chain(self, onnx_model, name): pass
"""
    )
    run(2, "--onnxprep-save-baseline=base", source=source)
    records = [json.loads(path.read_text()) for path in (story.path / "base").glob("*.json")]

    assert sorted(record["key"] for record in records) == [
        "test_story.py::TestChain::test_chain[a-latency-torchscript-opset17]",
        "test_story.py::TestChain::test_chain[b-torchscript-opset17]",
    ]
    assert {frozenset(record["figures"]) for record in records} == {frozenset(["batch=1", "batch=2"])}


def test_ini_keys(run, story):
    """The folders may stand in the configuration, relative to it."""
    story.pytester.makeini("[pytest]\nonnxprep_save_baseline = here\n")
    run(2)

    assert list((story.path / "here").glob("*.json"))


def test_folders_are_seen_from_where_pytest_is_started(run, story, monkeypatch):
    """On the command line, that is: a run in a subfolder may name its neighbour."""
    (story.path / "sub").mkdir()
    story.pytester.makeini("[pytest]\n")
    monkeypatch.setenv("PYTHONPATH", str(story.path), prepend=":")
    monkeypatch.chdir(story.path / "sub")
    run(2, "..", "--onnxprep-save-baseline=../there")

    assert list((story.path / "there").glob("*.json"))


def test_against_the_framework(run):
    """A factor nobody reaches fails, one anybody reaches passes; an item for each size."""
    source = (
        MODELS
        + """
@onnx_export(build_chain, inputs=CHAIN, **TS)
@latency_budget(min_speedup=1000, against="framework", at=[{"batch": 1}, {"batch": 8}])
def test_never(onnx_model): pass

@onnx_export(build_chain, inputs=CHAIN, **TS)
@latency_budget(min_speedup="0.001x", against="framework", at={"batch": 1})
def test_always(onnx_model): pass
"""
    )
    outcome = run(20, source=source)

    assert outcome.verdicts == {
        "test_never[torchscript-opset17-latency-batch1]": "fail",
        "test_never[torchscript-opset17-latency-batch8]": "fail",
        "test_always[torchscript-opset17-latency]": "pass",
    }
    assert "times as fast as the eager torch model" in outcome.text
    assert "min_speedup is 1000" in outcome.text
    assert "latency over size: test_never torchscript-opset17" in outcome.text
    assert outcome.report["curves"][0]["points"][0]["at"] == {"batch": 1}
    found = outcome.records["test_always[torchscript-opset17-latency]"]["figures"]
    assert found["comparisons"][0]["rival_threads"] == 1
    assert found["speedup"] > 0.001


def test_against_another_variant(run):
    """The others are compared with it; it itself has nothing to be compared with."""
    source = (
        MODELS
        + """
@onnx_export(build_chain, inputs=CHAIN, exporter="torchscript", opset=[14, 17])
@latency_budget(min_speedup=0.001, against="torchscript-opset14", at={"batch": 1})
def test_variants(onnx_model): pass
"""
    )
    outcome = run(2, source=source)

    assert outcome.verdicts == {
        "test_variants[torchscript-opset14-latency]": "skip",
        "test_variants[torchscript-opset17-latency]": "pass",
    }
    passed = outcome.records["test_variants[torchscript-opset17-latency]"]
    assert "times as fast as the variant torchscript-opset14" in passed["summary"]


def test_against_a_file(run, story):
    """A file beside the test, such as the released one; a missing one is an error that says where it was looked for."""
    source = (
        MODELS
        + """
@onnx_export(build_chain, inputs=CHAIN, **TS)
@latency_budget(max_regression="50%", against="released.onnx", at={"batch": 1})
def test_released(onnx_model): pass
"""
    )
    missing = run(2, source=source)
    assert missing.verdict("latency") == "error"
    assert "there is no such file (looked for" in missing.text

    run(80, "--onnxprep-save-baseline=base")
    (model,) = (story.path / "base" / "models").rglob("model.onnx")
    (story.path / "released.onnx").write_bytes(model.read_bytes())
    found = run(2, source=source)
    assert found.verdict("latency") == "pass"
    assert "faster than the file released.onnx" in found.one("latency")["summary"]


def test_a_wrong_rival_is_a_collection_error(run):
    """With the line, a suggestion and what is accepted."""
    source = (
        MODELS
        + """
@onnx_export(build_chain, inputs=CHAIN, exporter="torchscript", opset=[14, 17])
@latency_budget(min_speedup=2, against="torchscript-opset41")
def test_variants(onnx_model): pass
"""
    )
    outcome = run(2, source=source)

    assert "@latency_budget: against='torchscript-opset41' is no variant of this test; did you mean" in outcome.text
    assert "framework, baseline, torchscript-opset14, torchscript-opset17" in outcome.text


def test_circumstances_are_recorded(run):
    """Every latency figure says what the machine was like: collector, clock, quota, steal, threads."""
    source = GATE.replace('max_regression="50%"', "p50_ms=5000")
    found = figures(run(2, source=source))

    assert found["gc"] == "off"
    assert found["threads"] == 1
    assert "steal_share" in found
    assert set(found["conditions"]) == {
        "cpu_mhz",
        "governor",
        "quota",
        "throttled_s",
        "load",
        "cores_usable",
        "thread_variables",
    }


def test_under_xdist_nothing_is_measured_or_saved(run, story):
    """Workers disturb each other: the item is skipped, says so, and leaves no baseline."""
    pytest.importorskip("xdist")
    outcome = run(2, "--onnxprep-save-baseline=base", "-n2", subprocess=True)

    assert outcome.verdict("latency") == "skip"
    assert "run latency items with -n0" in outcome.one("latency")["summary"]
    assert outcome.one("latency")["summary"].endswith("no baseline is saved")
    assert not (story.path / "base").exists()


def test_a_pipeline_is_played_as_a_whole_and_has_no_baseline(run, story):
    """Against the framework all of its files count; a baseline is one file, and asking for one is an error."""
    source = (
        MODELS
        + """
def build_pipeline():
    stage = pytest_onnxprep.Stage
    return pytest_onnxprep.Pipeline([stage(build_chain(), "a"), stage(build_chain(), "b")])

@onnx_export(build_pipeline, inputs=CHAIN, **TS)
@latency_budget(min_speedup=0.001, against="framework")
def test_framework(onnx_model): pass

@onnx_export(build_pipeline, inputs=CHAIN, **TS)
@latency_budget(max_regression="5%")
def test_baseline(onnx_model): pass
"""
    )
    outcome = run(2, "--onnxprep-save-baseline=base", source=source)

    assert outcome.verdicts == {
        "test_framework[torchscript-opset17-latency]": "pass",
        "test_baseline[torchscript-opset17-latency]": "error",
    }
    assert "the pipeline has several files (a, b), and a baseline is one" in outcome.text
    assert "no baseline saved of test_framework torchscript-opset17" in outcome.text
    assert not (story.path / "base").exists()
