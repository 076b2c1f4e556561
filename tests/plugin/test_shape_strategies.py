"""One fixed size, and several with padding: what passes, and what padding breaks."""

from __future__ import annotations

from textwrap import dedent

MODELS = """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.query, self.value = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 4)
    def forward(self, ids, mask):
        x = self.embed(ids)
        scores = (self.query(x) @ x.transpose(1, 2)).masked_fill(mask[:, None] == 0, -1e9)
        return scores.softmax(-1) @ self.value(x)

class Blind(Attention):
    def forward(self, ids, mask):
        return super().forward(ids, mask * 0 + 1)

class Halving(nn.Module):
    def forward(self, x):
        return torch.nn.functional.avg_pool1d(x[:, None], 2)[:, 0]

def build_attention(): return Attention().eval()
def build_blind(): return Blind().eval()
def build_halving(): return Halving().eval()

TEXT = {"ids": TensorSpec("int64", "batch, seq", low=0, high=20),
        "mask": TensorSpec("int64", "batch, seq", values="mask")}
FAST = {"inputs": TEXT, "dims": {"batch": (1, 3), "seq": (1, 16)}, "exporter": "torchscript", "opset": 17}
BUCKETS = [{"batch": 3, "seq": 6}, {"batch": 3, "seq": 16}]
"""


def test_buckets_hold_parity_over_the_whole_range(story):
    """Masked padding does not change the answer, and is cut off it, at every declared size."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(build_attention, buckets=BUCKETS, **FAST)
        @parity()
        @latency_budget(p95_ms=2000, max_time_s=0.1, at={"seq": 9})
        @size_budget(mb=1)
        def test_x(onnx_model):
            assert isinstance(onnx_model, BucketedModel)
            assert list(onnx_model.buckets) == ["batch3-seq6", "batch3-seq16"]
            assert onnx_model.buckets["batch3-seq6"].session.get_inputs()[0].shape == [3, 6]
            feeds = {"ids": np.ones((2, 7), "int64"), "mask": np.ones((2, 7), "int64")}
            assert onnx_model.bucket_for(feeds) == "batch3-seq16"
            assert onnx_model.run(feeds)["output"].shape == (2, 7, 4)
            """
        )
    )

    others = {record["verdict"] for record in outcome.records.values() if record["check"] != "latency"}
    assert others == {"pass"}, outcome.text
    assert outcome.verdict("latency") in ("pass", "inconclusive")  # as busy as the machine is
    assert outcome.one("parity")["figures"]["sizes_tried"] == {"batch": [1, 3], "seq": [1, 16]}


def test_padding_that_changes_the_answer_fails_and_says_so(story):
    """A model that looks at its padding is no model for buckets; the framework itself is the witness."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(build_blind, buckets=BUCKETS, **FAST)
        @parity()
        def test_x(onnx_model): ...
            """
        )
    )

    failed = outcome.one("parity")
    assert failed["verdict"] == "fail"
    assert "padding changes the answer: the framework itself, given the padded input, differs too" in failed["summary"]
    assert "give the model a mask input and use it" in outcome.text


def test_an_output_that_follows_a_dim_in_its_own_way_has_to_be_declared(story):
    """Half of the padding is cut off where the output declares half of the dim; else that is asked for."""
    outcome = story(
        MODELS
        + dedent(
            """
        HALF = {"inputs": {"x": "float32[batch, n]"}, "dims": {"batch": (1, 3), "n": Dim(2, 16, multiple_of=2)},
                "exporter": "torchscript", "opset": 17, "buckets": [{"n": 8}, {"n": 16}]}

        @onnx_export(build_halving, outputs={"y": "float32[batch, n // 2]"}, **HALF)
        @parity()
        def test_declared(onnx_model): ...

        @onnx_export(build_halving, **HALF)
        def test_undeclared(onnx_model): ...
            """
        )
    )

    assert outcome.verdicts["test_declared[torchscript-opset17-parity]"] == "pass"
    assert outcome.verdicts["test_undeclared[torchscript-opset17-export]"] == "error"
    assert "declare it, so that padding can be cut off: outputs={'output': 'dtype[..., n // 2, ...]'}" in outcome.text


def test_fixed_shapes_are_the_example_sizes(story):
    """One static file; budgets at its sizes are taken, others are refused."""
    outcome = story(
        MODELS
        + dedent(
            """
        from pytest_onnxprep import Dim
        FIXED = {**FAST, "dims": {"batch": Dim(1, 3, example=1), "seq": Dim(1, 16, example=5)}, "shapes": "fixed"}

        @onnx_export(build_attention, **FIXED)
        @parity()
        @latency_budget(p95_ms=2000, max_time_s=0.1, at={"seq": 5})
        def test_x(onnx_model):
            assert [value.shape for value in onnx_model.session.get_inputs()] == [[1, 5], [1, 5]]

        @onnx_export(build_attention, **FIXED)
        @latency_budget(p95_ms=2000, max_time_s=0.1, at={"seq": 6})
        def test_other(onnx_model): ...
            """
        )
    )

    assert outcome.verdicts["test_x[torchscript-opset17-latency]"] in ("pass", "inconclusive")
    assert outcome.verdicts["test_other[torchscript-opset17-latency]"] == "error"
    assert "the file was exported for seq=5 alone, not for 6" in outcome.text


def test_bad_strategies_are_collection_errors(story):
    """What no strategy could be is told at collection, with what is accepted."""
    outcome = story(
        MODELS
        + dedent(
            """
        @onnx_export(build_attention, shapes="fix", **FAST)
        def test_a(onnx_model): ...

        @onnx_export(build_attention, buckets=[{"seq": 6}], **FAST)
        def test_b(onnx_model): ...

        @onnx_export(build_attention, buckets=[{"sequence": 16}], **FAST)
        def test_c(onnx_model): ...

        @onnx_export(build_attention, buckets=[{"seq": 6}, {"batch": 3}], **FAST)
        def test_d(onnx_model): ...
            """
        )
    )

    for text in (
        "shapes must be 'dynamic' or 'fixed' (several fixed sizes: buckets=[{...}]), not 'fix'",
        "buckets: none holds the largest declared sizes (seq=16)",
        "buckets name an unknown dim 'sequence'",
        "buckets: all of them must name the same dims",
    ):
        assert text in outcome.text


def test_the_advisor_measures_and_tells(story):
    """Advice is a table and a list of buckets that `onnx_export` takes."""
    outcome = story(
        MODELS
        + dedent(
            """
        def test_x(onnx_exporter):
            model = onnx_exporter(build_attention, **FAST)
            seen = [{"seq": n} for n in [3] * 20 + [4] * 10 + [15] * 2 + [16]]
            advice = advise_buckets(model, seen, max_buckets=2, seconds=0.02)
            assert 1 <= len(advice.buckets) <= 2 and advice.sizes[-1] == {"seq": 16}
            assert sum(bucket.requests for bucket in advice.buckets) == 33
            assert "seq=16" in advice.table() and "padding" in advice.table()
            with pytest.raises(SpecError, match="at least one size is needed"):
                advise_buckets(model, [])
            """
        )
    )

    outcome.result.assert_outcomes(passed=1)
