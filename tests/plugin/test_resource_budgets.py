"""Stories of the budgets that are measured in fresh processes."""

from __future__ import annotations

import pytest

#: ``cells`` of 4 MB a batch row: what the model holds follows the batch.
WIDE = """
class Wide(nn.Module):
    def forward(self, x):
        return (x.unsqueeze(-1) + torch.arange(250_000, dtype=torch.float32)).exp().sum(-1)

def build_wide():
    return Wide().eval()
"""
EXPORT = 'onnx_export(build, inputs=X, exporter="torchscript", opset=17)'


def test_generous_budgets_pass(story):
    """Memory, start-up and throughput are items of their own, with figures and a second table."""
    outcome = story(
        f"""
        @{EXPORT}
        @memory_budget(peak_mb=2000, at={{"batch": 2}})
        @startup_budget(load_ms=60_000, first_run_ms=60_000)
        @throughput_budget(min_per_s=0.01, at={{"batch": 2}}, sweep=False)
        def test_net(onnx_model): pass
        """
    )
    names = [f"test_net[torchscript-opset17-{check}]" for check in ("export", "memory", "startup", "throughput")]

    assert outcome.verdicts == dict.fromkeys(names, "pass")
    memory, startup, rate = (outcome.one(check)["figures"] for check in ("memory", "startup", "throughput"))
    assert 0 < memory["model_mb"] < memory["peak_mb"] < 2000
    assert 20 < memory["baseline_mb"] < memory["peak_mb"]
    assert memory["at"] == {"batch": 2}
    assert (memory["children"], memory["budget"]) == (3, {"peak_mb": 2000})
    assert startup["load_ms"] > 0
    assert startup["first_run_ms"] > 0
    assert startup["children"] == 5
    assert (rate["items"], rate["counted"]) == (2, "batch")
    assert rate["per_s"] > 0.01
    assert "peak MB" in outcome.text
    assert "/demanded" in outcome.text


def test_hopeless_budgets_fail(story):
    """Each failure is an assertion of its own class whose message says by how much, where, and what to do."""
    outcome = story(
        f"""
        @{EXPORT}
        @memory_budget(peak_mb=1)
        @startup_budget(load_ms=0.001)
        @throughput_budget(min_per_s=1e9, sweep=False)
        def test_net(onnx_model): pass
        """
    )

    assert outcome.counts() == {"pass": 1, "fail": 3}
    for line in (
        "memory over budget: peak ",
        "ONNX Runtime alone is over the budget",
        "start-up: load ",
        "over the budget of 0.001 ms",
        "throughput: ",
        "short of the 1000000000 demanded",
        "measured at batch=1",
    ):
        assert line in outcome.text
    assert outcome.text.count("Hint: ") == 3
    assert "Traceback" not in outcome.text


def test_memory_follows_the_sizes(story):
    """Several sizes are an item each; the larger one fails the budget of the model's own share."""
    outcome = story(
        WIDE
        + """
@onnx_export(build_wide, inputs={"x": "float32[batch]"}, dims={"batch": (1, 64)}, exporter="torchscript", opset=17)
@memory_budget(model_mb=80, at=[{"batch": 2}, {"batch": 64}])
def test_wide(onnx_model): pass
"""
    )

    assert outcome.verdicts == {
        "test_wide[torchscript-opset17-export]": "pass",
        "test_wide[torchscript-opset17-memory-batch2]": "pass",
        "test_wide[torchscript-opset17-memory-batch64]": "fail",
    }
    assert "most of it is the arena" in outcome.text
    assert sum(line.startswith("test_wide ") for line in outcome.result.outlines) == 2  # one row in each table


def test_sweep_is_in_the_figures(story):
    """Thread counts up to the usable cores, batch sizes over the range, and the thread count to recommend."""
    figures = story(
        """
        @onnx_export(build, inputs=X, dims={"batch": (1, 4)}, exporter="torchscript", opset=17)
        @throughput_budget(min_per_s=0.01)
        def test_net(onnx_model): pass
        """
    ).one("throughput")["figures"]

    assert {point["items"] for point in figures["sweep"]} == {1, 2, 4}
    assert figures["recommended_threads"] in {point["threads"] for point in figures["sweep"]}
    assert figures["energy_j_per_run"] is None or figures["energy_j_per_run"] > 0


def test_marks_select_their_items(story):
    """``-m memory_budget`` runs the memory items and no other."""
    outcome = story.write(
        f"""
        @{EXPORT}
        @memory_budget(peak_mb=2000)
        @startup_budget(load_ms=1)
        @throughput_budget(1)
        def test_net(onnx_model): pass
        """
    ).run("--collect-only", "-q", "-m", "memory_budget")

    assert outcome.names() == ["test_net[torchscript-opset17-memory]"]


def test_times_are_not_taken_under_xdist(story):
    """Start-up and throughput are skipped with the command that measures them; memory is measured."""
    pytest.importorskip("xdist")
    outcome = story(
        f"""
        @{EXPORT}
        @memory_budget(peak_mb=2000)
        @startup_budget(load_ms=0.001)
        @throughput_budget(1e9)
        def test_net(onnx_model): pass
        """,
        "-n1",
        subprocess=True,
    )

    assert outcome.verdict("memory") == "pass"
    assert outcome.one("startup")["summary"].endswith("run startup items with -n0 (pytest -n0 -m startup_budget)")
    assert outcome.verdict("throughput") == "skip"


def test_measure_memory_without_marks(story):
    """The function measures a model of the fixture, judges budgets, and refuses unknown dims."""
    outcome = story(
        """
        def test_by_hand(onnx_exporter):
            model = onnx_exporter(build, inputs=X, exporter="torchscript", opset=17)
            found = measure_memory(model, at={"batch": 2})
            assert found.verdict.value == "pass" and len(found.children) == 3
            assert set(found.children[0].modules) <= {"numpy", "onnxruntime", "ml_dtypes"}
            assert measure_memory(model, peak_mb=1).verdict.value == "fail"
            with pytest.raises(SpecError, match="unknown dim 'bach'"):
                measure_memory(model, at={"bach": 2})
            with pytest.raises(SpecError, match="odd number"):
                measure_memory(model, children=2)
        """
    )

    outcome.result.assert_outcomes(passed=1)


def test_size_figures_are_told_apart(story):
    """The file, its external data, the weights and the nodes are figures of their own."""
    figures = story(
        f"""
        @{EXPORT}
        @size_budget(mb=1)
        def test_net(onnx_model): pass
        """
    ).one("size")["figures"]

    assert figures["mb"] == figures["file_mb"] > figures["weights_mb"] > 0
    assert figures["external_mb"] == 0
    assert figures["nodes"] > 0


BAD = {
    "no memory": ("@memory_budget()", ["@memory_budget", "peak_mb", "model_mb"]),
    "memory text": ("@memory_budget('200MB')", ["@memory_budget", "peak_mb", "positive number"]),
    "even children": ("@memory_budget(1, children=2)", ["@memory_budget", "odd number"]),
    "memory keyword": ("@memory_budget(rss_mb=1)", ["@memory_budget", "rss_mb", "accepted", "peak_mb"]),
    "memory at unknown dim": ("@memory_budget(1, at={'bach': 1})", ["@memory_budget", "bach", "batch"]),
    "memory at outside": ("@memory_budget(1, at={'batch': 99})", ["@memory_budget", "batch=99", "1..8"]),
    "no startup": ("@startup_budget()", ["@startup_budget", "load_ms", "first_run_ms"]),
    "startup at unknown dim": ("@startup_budget(1, at={'bach': 1})", ["@startup_budget", "bach", "batch"]),
    "no throughput": ("@throughput_budget()", ["@throughput_budget", "min_per_s"]),
    "batch unknown dim": ("@throughput_budget(1, batch='bach')", ["@throughput_budget", "batch=", "bach", "batch"]),
}


@pytest.mark.parametrize(("mark", "needed"), BAD.values(), ids=BAD)
def test_a_bad_mark_is_a_collection_error(story, mark, needed):
    """File and line of the decorator, what is wrong and what is accepted, and no traceback."""
    story.write(f"@{EXPORT}\n{mark}\ndef test_bad(): pass\n")
    lines = (story.path / "test_story.py").read_text().splitlines()
    outcome = story.run()
    message = next(line for line in outcome.result.outlines if "test_story.py:" in line and "@" in line)

    assert f"test_story.py:{lines.index(mark) + 1}: @" in message
    assert [word for word in needed if word not in message] == []
    assert "Traceback" not in outcome.text
