"""One rule for what a model of several files is held to: every check judges it, or says at the item why it cannot."""

from __future__ import annotations

from textwrap import dedent

import pytest

MODELS = """
class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)
    def forward(self, image):
        made = torch.relu(self.conv(image))
        return made * 2 if image.shape[2] > 12 else made

class Head(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.fc = nn.Linear(6, 4)
    def forward(self, features):
        return self.fc(features.mean((2, 3)))

class Scale(nn.Module):
    def forward(self, x, mask):
        return x * mask

class Step(nn.Module):
    def forward(self, token, cache):
        cache = torch.cat([cache, token[:, None]], 1)
        return cache.sum(1), cache

def build_backbone(): return Backbone().eval()
def build_head(): return Head().eval()
def build_scale(): return Scale().eval()
def build_step(): return Step().eval()
def label(logits): return {"label": logits.argmax(-1)}
def start(values): return {"token": values["first"], "cache": np.zeros((len(values["first"]), 0, 3), "float32")}

EXPORTER = {"exporter": "torchscript", "opset": 17}
CLASSIFIER = {"source": Pipeline([build_backbone, build_head, Stage(label, export=False)]), **EXPORTER,
              "inputs": {"image": "float32[batch, 3, h, w]"}, "dims": {"batch": (1, 3), "h": (8, 20), "w": (8, 20)}}
DECODER = {"source": Pipeline([Loop(Stage(build_step, name="step", outputs=["sum", "cache"]), start=start, max_steps=4,
                                    feedback={"token": "sum", "cache": "cache"})]), **EXPORTER,
           "inputs": {"first": "float32[batch, 3]"}, "dims": {"batch": (2, 4)}}
BUCKETED = {"source": build_scale, "buckets": [{"n": 4}, {"n": 8}], **EXPORTER,
            "inputs": {"x": "float32[n, 3]", "mask": "float32[n, 3]"}, "dims": {"n": (1, 8)}}
"""


def test_fresh_processes_hold_all_files(story):
    """Memory, start-up and a device are judged with every file loaded in one process, and say what is in none."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(**CLASSIFIER)
        @memory_budget(peak_mb=5000)
        @startup_budget(load_ms=600_000, first_run_ms=600_000)
        @fits("raspberry-pi-4")
        @size_budget(mb=1)
        @operators(forbidden=["LSTM"])
        def test_x(onnx_model): ...
            """
        )
    )

    assert {outcome.verdict(check) for check in ("export", "memory", "size", "operators", "fits")} == {"pass"}
    assert outcome.verdict("startup") in ("pass", "inconclusive")  # as busy as the machine is
    for check in ("memory", "startup", "fits"):
        figures = outcome.one(check)["figures"]
        assert (figures["files"], figures["outside"]) == (["backbone", "head"], ["label"])
        assert "; 2 files in one process, without label" in outcome.one(check)["summary"]
    lines = {line["what"]: line for line in outcome.one("fits")["figures"]["lines"]}
    assert lines["memory"]["value"] > 0
    assert lines["disk"]["value"] == pytest.approx(outcome.one("size")["figures"]["mb"])
    assert any("(label) is in no figure: it is yours to port" in n for n in outcome.one("fits")["figures"]["notes"])


def test_memory_over_its_budget_counts_buckets_that_were_not_run(story):
    """All files are loaded, as they are on a device, and the message says so."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(**BUCKETED)
        @memory_budget(peak_mb=1, at={"n": 3})
        def test_x(onnx_model): ...
            """
        ),
        "-m",
        "memory_budget",
    )

    assert outcome.verdict("memory") == "fail"
    assert outcome.one("memory")["figures"]["files"] == ["n4", "n8"]
    assert "measured at n=3; 2 files in one process" in outcome.text


def test_memory_is_of_the_largest_step_and_startup_of_all(story):
    """The steps of a loop are not all held at once, but a first run makes all of them."""
    outcome = story(
        MODELS
        + dedent(
            """
        from pytest_onnxprep.checks.fresh import Subject

        @onnx_export(**DECODER)
        def test_x(onnx_model):
            subject = Subject.of(onnx_model, {"first": np.ones((2, 3), "float32")})
            assert [inputs["cache"].shape[1] for _, inputs in subject.inputs] == [0, 1, 2, 3]
            assert [inputs["cache"].shape[1] for _, inputs in subject.largest] == [3]
            found = measure_memory(onnx_model, peak_mb=5000)
            assert found.verdict.value == "pass" and found.peak_mb > found.model_mb > 0
            """
        )
    )

    assert outcome.verdict("export") == "pass", outcome.text


def test_a_profile_tells_the_files_apart(story):
    """Nodes and layers carry their file; the body of a loop counts as often as it is called."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(**CLASSIFIER)
        def test_pipeline(onnx_model): ...

        @onnx_export(**DECODER)
        def test_loop(onnx_model): ...
            """
        ),
        "--onnxprep-profile",
        "-m",
        "onnx_profile",
    )

    assert set(outcome.verdicts.values()) == {"pass"}, outcome.text
    pipeline, loop = (record["figures"] for record in outcome.records.values())
    assert list(pipeline["parts"]) == ["backbone", "head"]
    assert {node["part"] for node in pipeline["nodes"]} == {"backbone", "head"}
    assert abs(sum(node["share"] for node in pipeline["nodes"]) - 1) < 0.01
    assert pipeline["nodes_ms"] == pytest.approx(sum(part["nodes_ms"] for part in pipeline["parts"].values()))
    assert {row["name"] for row in pipeline["layers"]} >= {"backbone: conv", "head: fc"}
    assert loop["parts"]["step"]["calls"] == 4
    assert all(node["calls"] % 4 == 0 for node in loop["nodes"])
    traces = sorted(path.name for path in (story.path / ".onnxprep" / "profile").iterdir())
    assert len(traces) == 3
    assert all(name in outcome.text for name in traces)


def test_what_takes_one_file_is_an_error_with_a_way_out(story):
    """Throughput and a baseline are refused at their items, what the body calls where it is called."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(**BUCKETED)
        @throughput_budget(min_per_s=1)
        @latency_budget(max_regression="5%", at={"n": 3})
        def test_x(onnx_model):
            for call in (lambda: onnx_model.show(browse=False), lambda: onnx_model.write_metadata("x.onnx")):
                with pytest.raises(OnnxPrepError, match=r"onnx_model.stages\\['n4'\\]"):
                    call()
            """
        )
    )

    assert outcome.verdicts == {
        "test_x[torchscript-opset17-export]": "pass",
        "test_x[torchscript-opset17-latency]": "error",
        "test_x[torchscript-opset17-throughput]": "error",
    }, outcome.text
    assert "throughput_budget: the bucketed model has several files (n4, n8)" in outcome.text
    assert "give the whole a latency_budget" in outcome.one("throughput")["summary"]
    assert "compare the whole with against='framework'" in outcome.one("latency")["summary"]


def test_a_baseline_that_is_not_saved_is_told(story):
    """The item, the reports and the screen say which models --onnxprep-save-baseline left out; others are saved."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(**BUCKETED)
        @latency_budget(p95_ms=60_000, max_time_s=0.1)
        def test_several(onnx_model): ...

        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        @latency_budget(p95_ms=60_000, max_time_s=0.1)
        def test_one(onnx_model): ...
            """
        ),
        "-m",
        "latency_budget",
        "--onnxprep-save-baseline=base",
    )

    several, one = outcome.records.values()
    why = "a baseline is one file, and this model has 2 (n4, n8)"
    assert several["verdict"] in ("pass", "inconclusive")
    assert several["figures"]["baseline_saved"] is None
    assert f"no baseline is saved: {why}" in several["summary"]
    assert one["figures"]["baseline_saved"]
    assert "baseline_left_out" not in one["figures"]
    assert f"no baseline saved of test_several torchscript-opset17: {why}" in outcome.text
    assert "no baseline saved of test_one" not in outcome.text


def test_the_onnx_oracle_stands_in_the_place_of_every_file(story):
    """A branch that the exporter froze differs from the framework, and not from what the file means."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(**CLASSIFIER)
        @parity(oracle="onnx")
        def test_kernels(onnx_model): ...

        @onnx_export(**CLASSIFIER)
        @parity()
        def test_export(onnx_model): ...

        @onnx_export(**BUCKETED)
        @parity(oracle="onnx")
        def test_buckets(onnx_model): ...
            """
        ),
        "-m",
        "parity",
    )

    found = {name.partition("[")[0]: record for name, record in outcome.records.items()}
    assert {name: record["verdict"] for name, record in found.items()} == {
        "test_kernels": "pass",
        "test_export": "fail",
        "test_buckets": "pass",
    }, outcome.text
    assert found["test_kernels"]["figures"]["oracle"] == "onnx"
    assert set(found["test_kernels"]["figures"]["parts"]) == {"backbone", "head"}
    assert found["test_export"]["summary"].startswith("stage 'backbone': ")
