"""Which items a marked test becomes, and what they are called."""

from __future__ import annotations

import pytest

from pytest_onnxprep.marks import CHECKS

FOUR = """
    @onnx_export(build, inputs=X{more})
    @parity()
    @latency_budget(p95_ms=1000)
    @size_budget(mb=1)
    def test_x(onnx_model):
        pass
"""


def names(story, source, *args):
    """Names of the items of a file, in order."""
    return story.write(source).run("--collect-only", "-q", *args).names()


def test_one_item_per_check(story):
    """The four checks of one variant are four items, export first."""
    found = names(story, FOUR.format(more=", exporter='torchscript', opset=17"))

    assert found == [f"test_x[torchscript-opset17-{check}]" for check in ("export", "parity", "latency", "size")]


def test_checks_come_in_a_fixed_order_however_they_are_written(story):
    """The order of the decorators does not matter."""
    found = names(
        story,
        """
        @size_budget(mb=1)
        @parity()
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        def test_x(onnx_model):
            pass
        """,
    )

    assert found == [f"test_x[torchscript-opset17-{check}]" for check in ("export", "parity", "size")]


def test_the_best_exporter_of_each_opset_is_named(story):
    """Without exporter=, torch models are exported by torchscript up to opset 17 and by dynamo above."""
    found = names(story, "@onnx_export(build, inputs=X, opset=[17, 20])\ndef test_x(onnx_model): pass")

    assert found == ["test_x[torchscript-opset17-export]", "test_x[dynamo-opset20-export]"]


def test_the_default_opset_is_named(story):
    """Without opset=, the id tells the exporter's default."""
    found = names(story, "@onnx_export(build, inputs=X)\ndef test_x(onnx_model): pass")

    assert found == ["test_x[dynamo-opset20-export]"]


def test_exporters_and_opsets_make_a_matrix(story):
    """Two exporters at two opsets are four variants."""
    found = names(
        story,
        "@onnx_export(build, inputs=X, exporter=['torchscript', 'dynamo'], opset=[18, 20])\n"
        "def test_x(onnx_model): pass",
    )

    assert sorted(found) == sorted(
        f"test_x[{exporter}-opset{opset}-export]" for exporter in ("torchscript", "dynamo") for opset in (18, 20)
    )


def test_a_list_of_options_makes_variants(story):
    """Each options mapping is a variant with a label of its own."""
    found = names(
        story,
        "@onnx_export(build, inputs=X, exporter='torchscript', opset=17,"
        " options=[{}, {'do_constant_folding': False}])\ndef test_x(onnx_model): pass",
    )

    assert len(found) == len(set(found)) == 2
    assert all(name.startswith("test_x[torchscript-opset17-") and name.endswith("-export]") for name in found)


def test_one_options_mapping_needs_no_label(story):
    """A lone options mapping leaves the id as it is."""
    found = names(
        story,
        "@onnx_export(build, inputs=X, exporter='torchscript', opset=17, options={'do_constant_folding': False})\n"
        "def test_x(onnx_model): pass",
    )

    assert found == ["test_x[torchscript-opset17-export]"]


def test_several_latency_sizes_are_items_each(story):
    """A list in at= makes one latency item per entry, each named after its sizes."""
    found = names(
        story,
        "@onnx_export(build, inputs=X, exporter='torchscript', opset=17)\n"
        "@latency_budget(p95_ms=1000, at=[{'batch': 1}, {'batch': 8}])\ndef test_x(onnx_model): pass",
    )

    assert len(found) == 3
    assert [name for name in found if "latency" in name and "batch8" in name]


@pytest.mark.parametrize("check", ["parity", "latency", "size", "export"])
def test_k_selects_a_check(story, check):
    """``-k latency`` selects the latency item only."""
    found = names(story, FOUR.format(more=", exporter='torchscript', opset=17"), "-k", check)

    assert found == [f"test_x[torchscript-opset17-{check}]"]


@pytest.mark.parametrize(
    ("expression", "checks"),
    [
        ("parity", ["parity"]),
        ("latency_budget", ["latency"]),
        ("size_budget", ["size"]),
        ("not latency_budget", ["export", "parity", "size"]),
        ("parity or size_budget", ["parity", "size"]),
    ],
)
def test_m_selects_what_it_says(story, expression, checks):
    """An item keeps only its own check's mark."""
    found = names(story, FOUR.format(more=", exporter='torchscript', opset=17"), "-m", expression)

    assert found == [f"test_x[torchscript-opset17-{check}]" for check in checks]


def test_only_the_benchmark_item_has_the_benchmark_mark(story):
    """``-m benchmark`` selects latency items alone."""
    found = names(story, FOUR.format(more=", exporter='torchscript', opset=17"), "-m", "benchmark")

    assert found == ["test_x[torchscript-opset17-latency]"]


def test_marks_of_a_class_are_kept_per_item(story):
    """A class-level mark is on the items of its own check only."""
    source = """
    @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
    @parity()
    @size_budget(mb=1)
    class TestNet:
        def test_a(self, onnx_model): pass
        def test_b(self, onnx_model): pass
    """
    everything = names(story, source)
    chosen = names(story, source, "-m", "parity")

    assert len(everything) == 6
    assert chosen == ["test_a[torchscript-opset17-parity]", "test_b[torchscript-opset17-parity]"]


def test_marks_of_a_module_are_kept_per_item(story):
    """``pytestmark`` counts like a decorator."""
    source = """
    pytestmark = [onnx_export(build, inputs=X, exporter="torchscript", opset=17), parity(), latency_budget(p95_ms=9)]
    def test_a(onnx_model): pass
    """
    found = names(story, source, "-m", "not latency_budget")

    assert found == ["test_a[torchscript-opset17-export]", "test_a[torchscript-opset17-parity]"]


def test_the_nearest_mark_wins(story):
    """A test's own budget replaces its class's."""
    outcome = story(
        """
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        @size_budget(nodes=1)
        class TestNet:
            @size_budget(nodes=100)
            def test_roomy(self, onnx_model): pass
            def test_tight(self, onnx_model): pass
        """,
        "-m",
        "size_budget",
    )

    assert outcome.verdicts == {
        "test_roomy[torchscript-opset17-size]": "pass",
        "test_tight[torchscript-opset17-size]": "fail",
    }


def test_a_test_refines_the_export_of_its_class(story):
    """What the function says of ``onnx_export`` replaces its class's word, argument by argument."""
    found = names(
        story,
        """
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        class TestNet:
            @onnx_export(opset=15)
            def test_older(self, onnx_model): pass
        """,
    )

    assert found == ["test_older[torchscript-opset15-export]"]


def test_parametrize_multiplies(story):
    """A parametrised test has every check for every parameter."""
    found = names(
        story,
        """
        @pytest.mark.parametrize("limit", [3, 5])
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model, limit): pass
        """,
    )

    assert len(set(found)) == 4
    assert sum(name.startswith("test_x[") and "torchscript-opset17-parity" in name for name in found) == 2


def test_marks_equal_pytest_marks(story):
    """``pytest.mark.<name>(...)`` does what the decorator does."""
    found = names(
        story,
        """
        @pytest.mark.onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        @pytest.mark.parity(atol=1e-4)
        @pytest.mark.latency_budget(p95_ms=5)
        @pytest.mark.size_budget(mb=1)
        def test_x(onnx_model): pass
        """,
    )

    assert found == [f"test_x[torchscript-opset17-{check}]" for check in ("export", "parity", "latency", "size")]


def test_unmarked_tests_are_left_alone(story):
    """Plain tests of the same file keep their names."""
    found = names(story, FOUR.format(more=", exporter='torchscript', opset=17") + "\n    def test_plain(): pass\n")

    assert found[-1] == "test_plain"


def test_every_mark_is_registered(story):
    """``pytest --markers`` explains every mark, so that --strict-markers accepts them."""
    text = story.run("--markers").text

    assert all(f"@pytest.mark.{mark}(" in text for mark in (check.mark for check in CHECKS.values()))


def test_collecting_builds_nothing(story):
    """``--collect-only`` calls no factory."""
    outcome = story(
        "def build_never(): raise RuntimeError('called')\n"
        "@onnx_export(build_never, inputs=X)\n@parity()\ndef test_x(onnx_model): pass",
        "--collect-only",
        "-q",
    )

    assert len(outcome.names()) == 2
    assert outcome.result.ret == 0
