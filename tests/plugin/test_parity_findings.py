"""What parity finds below any tolerance, what it lets pass, and what it says of where a fault begins."""

from __future__ import annotations

import hypothesis
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

#: One module, exported honestly, and a file beside the test that the story edits.
EDITED = """
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)
    def forward(self, x):
        return self.head(self.norm(x))

def build_two():
    torch.manual_seed(0)
    return Two().eval()

@onnx_export(build_two, inputs={"x": "float32[batch, 4]"}, artifact="edited.onnx")
@parity()
def test_x(onnx_model): pass
"""


@pytest.fixture
def edited(story):
    """Export the module, edit the file, and hold it to the module with all examples."""

    def run(edit):
        import torch

        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.Linear(4, 3)).eval()
        path = str(story.path / "edited.onnx")
        torch.onnx.export(
            module,
            (torch.ones(2, 4),),
            path,
            dynamo=False,
            input_names=["x"],
            output_names=["output"],
            dynamic_axes={"x": {0: "batch"}, "output": {0: "batch"}},
            opset_version=17,
        )
        proto = onnx.load(path)
        edit(proto)
        onnx.save(proto, path)
        return story(EDITED, "--onnxprep-examples=ci")

    return run


def test_the_honest_file_passes(edited):
    """Near zero error, nothing ill-conditioned but constant rows."""
    assert edited(lambda proto: None).verdict("parity") == "pass"


def test_an_epsilon_is_found(edited):
    """1e-5 becomes 2e-5: a few parts in a million on ordinary rows."""

    def edit(proto):
        (norm,) = [node for node in proto.graph.node if node.op_type == "LayerNormalization"]
        next(attribute for attribute in norm.attribute if attribute.name == "epsilon").f = 2e-5

    outcome = edited(edit)
    figures = outcome.one("parity")["figures"]

    assert outcome.verdict("parity") == "fail"
    assert figures["blame"] == "converter"
    assert "LayerNormalization" in figures["divergence"]["op_type"]
    assert "the difference stays in float64" in outcome.text


def test_one_weight_is_found_and_its_layer_named(edited):
    """A relative 1e-4 in one of twelve weights."""

    def edit(proto):
        (tensor,) = [tensor for tensor in proto.graph.initializer if len(tensor.dims) == 2]
        values = numpy_helper.to_array(tensor).copy()
        values[0, 1] *= 1 + 1e-4
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    outcome = edited(edit)
    figures = outcome.one("parity")["figures"]

    assert outcome.verdict("parity") == "fail"
    assert figures["divergence"]["op_type"] in ("Gemm", "MatMul")
    assert figures["layer"].startswith("head (Linear)")
    assert "first divergence" in outcome.text


def test_a_random_operator_is_found_in_the_file(edited):
    """Dropout left in training mode answers differently each time."""

    def edit(proto):
        last = proto.graph.node[-1]
        last.output[0] = "sure"
        proto.graph.node.append(helper.make_node("RandomUniformLike", ["sure"], ["noise"], low=0.0, high=1e-12))
        proto.graph.node.append(helper.make_node("Mul", ["noise", "tiny"], ["nothing"]))
        proto.graph.node.append(helper.make_node("Add", ["sure", "nothing"], ["output"]))
        proto.graph.initializer.append(helper.make_tensor("tiny", TensorProto.FLOAT, [], [1e8]))

    assert edited(edit).verdict("parity") == "fail"


def test_the_boundary_and_torchs_own_reason(story):
    """The rule behind the failing sizes, and the line that made torch.export narrow the range."""
    outcome = story("""
        @onnx_export(build_branches, inputs=X, dims={"batch": (2, 8)}, exporter="dynamo", opset=18)
        @parity()
        def test_x(onnx_model): pass
        """)
    figures = outcome.one("parity")["figures"]

    assert outcome.verdict("parity") == "fail"
    assert figures["boundary"] == ["every batch from 5 on (tried 2-8)"]
    assert figures["narrowed"][0]["guard"] == "batch <= 4"
    assert "exported only for" in outcome.text
    assert "if x.shape[0] > 4" in outcome.text
    assert figures["blame"] == "converter"
    assert figures["layer"]
    assert figures["seconds_to_failure"] < 20


@pytest.fixture
def kept(tmp_path):
    """A profile that keeps its examples in a folder."""
    from hypothesis.database import DirectoryBasedExampleDatabase

    before = hypothesis.settings.get_current_profile_name()
    hypothesis.settings.register_profile("kept", database=DirectoryBasedExampleDatabase(tmp_path / "examples"))
    hypothesis.settings.load_profile("kept")
    yield
    hypothesis.settings.load_profile(before)


@pytest.mark.usefixtures("kept")
def test_what_failed_is_tried_first(story):
    """The second run needs one example."""
    story.write("""
        @onnx_export(build_branches, inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model): pass
        """)
    first, second = (story.run().one("parity")["figures"] for _ in range(2))

    assert first["examples"] > 1
    assert second["examples"] == 1
    assert second["minimal"] == first["minimal"]


def test_ties_and_thresholds_are_no_difference(story):
    """Indices of equal values, and a step after a product whose last bit is anybody's."""
    outcome = story(
        """
        class Choices(nn.Module):
            def __init__(self):
                super().__init__()
                self.score = nn.Linear(4, 6)
            def forward(self, x):
                score = self.score(x)
                return score.argmax(1), score.topk(3).indices, (score > 0.1).float()

        def build_choices():
            torch.manual_seed(0)
            return Choices().eval()

        @onnx_export(build_choices, inputs=X, outputs=["best", "three", "fired"], exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model): pass
        """,
        "--onnxprep-examples=ci",
    )

    assert outcome.verdict("parity") == "pass"


def test_too_ill_conditioned_to_tell(story, monkeypatch):
    """Nothing but the last bits of a product comes out, and float64 cannot be had."""
    monkeypatch.setattr("pytest_onnxprep.sources.torch_module.TorchSource.in_double", lambda *_: None)
    outcome = story(
        """
        class Bits(nn.Module):
            def __init__(self):
                super().__init__()
                self.mix = nn.Linear(4, 64)
                self.back = nn.Linear(64, 3)
            def forward(self, x):
                return torch.sin(self.back(torch.tanh(self.mix(x))) * 1e9)

        def build_bits():
            torch.manual_seed(0)
            return Bits().eval()

        BITS = {"x": TensorSpec("float32", "batch, 4", low=1, high=2)}

        @onnx_export(build_bits, inputs=BITS, exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model): pass
        """,
        "--onnxprep-examples=ci",
    )

    assert outcome.verdict("parity") == "inconclusive"
    assert "ill-conditioned" in outcome.one("parity")["summary"]


def test_padding_is_not_judged(story):
    """A file that answers differently at the mask's zeros is as right as the framework."""
    outcome = story("""
        class Masked(nn.Module):
            def forward(self, x, mask):
                return torch.where(mask.bool(), x, torch.full_like(x, float(torch.onnx.is_in_onnx_export())))

        @onnx_export(lambda: Masked(), inputs={"x": "float32[b, s]", "mask": "int64[b, s]"}, exporter="torchscript")
        @parity()
        def test_x(onnx_model): pass
        """)

    assert outcome.verdict("parity") == "pass"
    assert outcome.one("parity")["figures"]["ill_conditioned"] == 0


@pytest.mark.parametrize("profile", ["dev", "ci"])
def test_a_profile_covers_all_corners(story, profile):
    """More corners than examples: they are tried all the same."""
    dims = ", ".join(f"d{index}" for index in range(6))
    ranges = {f"d{index}": (1, 40) for index in range(6)}
    outcome = story(
        f"""
        @onnx_export(lambda: nn.ReLU(), inputs={{"x": "float32[{dims}]"}}, dims={ranges}, exporter="torchscript")
        @parity()
        def test_x(onnx_model): pass
        """.replace("(1, 40)", "(1, 5)"),
        f"--onnxprep-examples={profile}",
    )
    figures = outcome.one("parity")["figures"]

    assert outcome.verdict("parity") == "pass"
    assert figures["examples"] >= {"dev": 50, "ci": 100}[profile]
    assert all(sizes == [1, 5] for sizes in figures["sizes_tried"].values())


def test_figures_are_plain(edited):
    """The report is strict JSON whatever a check found."""
    outcome = edited(lambda proto: None)
    figures = outcome.one("parity")["figures"]

    assert 0 <= figures.get("own_error", 0) < 1e-3
    assert np.isfinite(figures["max_abs"])


@pytest.mark.parametrize("head", ["torch.sigmoid(x - 14)", "torch.softmax(x * 30, -1)[:, 1:]"])
def test_small_chances_are_no_fault(story, head):
    """What hardly ever happens has a small probability, and kernels round it as one of 1."""
    outcome = story(f"""
        class Rare(nn.Module):
            def forward(self, x):
                return {head}

        @onnx_export(lambda: Rare(), inputs={{"x": "float32[n, 64]"}}, exporter="torchscript")
        @parity()
        def test_x(onnx_model): pass
        """)

    assert outcome.verdict("parity") == "pass"


def test_corners_of_a_slow_reference_end(story, monkeypatch):
    """The first are always tried; what was left out is said."""
    monkeypatch.setattr("pytest_onnxprep.checks.parity.CORNERS_S", 0.0)
    outcome = story(
        """
        dims = {f"d{index}": (1, 5) for index in range(6)}
        E = "torchscript"
        @onnx_export(lambda: nn.ReLU(), inputs={"x": "float32[d0, d1, d2, d3, d4, d5]"}, dims=dims, exporter=E)
        @parity()
        def test_x(onnx_model): pass
        """,
        "--onnxprep-examples=dev",
    )
    record = outcome.one("parity")

    assert record["verdict"] == "pass"
    assert record["figures"]["corners_left"] > 10
    assert f"{record['figures']['corners_left']} corners left out after 0 s" in record["summary"]
