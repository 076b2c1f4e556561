"""The reference is the user's model as it stands: it must be repeatable, and nothing we do may change it."""

from __future__ import annotations

import pytest

HEAD = '@onnx_export({source}, inputs=X, exporter="torchscript", opset=17)\n@parity()\ndef test_x(onnx_model): pass\n'

UNREPEATABLE = {
    "dropout": (
        "nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)).train()",
        ["dropout is active", "'1' (Dropout)", "model.eval()"],
    ),
    "batch norm": (
        "nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()",
        ["train mode", "BatchNorm1d", "eval()"],
    ),
    "random": ("Random()", ["random"]),
    "counter in an attribute": ("Counter()", ["carries state between calls"]),
    "counter in a buffer": ("Buffered()", ["state carried between calls", "'calls'"]),
}

CLASSES = """
class Random(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)

class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        return x * float(self.calls)

class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
    def forward(self, x):
        self.calls += 1
        return x * self.calls

"""


@pytest.mark.parametrize(("model", "needed"), UNREPEATABLE.values(), ids=UNREPEATABLE)
def test_a_reference_that_is_not_repeatable_fails_and_is_named(story, model, needed):
    """It is a failure of its own, told before anything is compared with it."""
    outcome = story(CLASSES + HEAD.format(source=f"lambda: {model}"))
    summary = outcome.one("parity")["summary"]

    assert outcome.verdict("parity") == "fail"
    assert "reference is not repeatable" in summary
    assert [word for word in needed if word not in summary] == []


@pytest.mark.parametrize(
    "model",
    [
        "nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)).eval()",
        "nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()",
    ],
)
def test_the_same_models_in_inference_mode_pass(story, model):
    """model.eval() is all that was missing."""
    assert story(HEAD.format(source=f"lambda: {model}")).counts() == {"pass": 2}


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_the_model_is_left_as_it_was(story, exporter):
    """Every submodule's train flag, every weight, buffer and gradient flag is as before; so is the global state."""
    outcome = story(f"""
        torch.manual_seed(3)
        MODEL = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).eval()
        MODEL[2].training = True
        MODEL[0].weight.requires_grad_(False)
        MODEL[0].bias.grad = torch.ones(4)
        FLAGS = [module.training for module in MODEL.modules()]
        STATE = {{name: tensor.clone() for name, tensor in MODEL.state_dict().items()}}
        RANDOM = torch.random.get_rng_state()

        @onnx_export(lambda: MODEL, inputs=X, exporter="{exporter}", opset=18)
        @parity()
        @size_budget(mb=1)
        def test_a(onnx_model): pass

        def test_b():
            assert [module.training for module in MODEL.modules()] == FLAGS
            assert all(torch.equal(tensor, STATE[name]) for name, tensor in MODEL.state_dict().items())
            assert [p.requires_grad for p in MODEL.parameters()] == [False, True, True, True]
            assert torch.equal(MODEL[0].bias.grad, torch.ones(4))
            assert torch.is_grad_enabled()
            assert "forward" not in vars(MODEL) and not MODEL._forward_hooks
        """)

    assert "PASSED test_story.py::test_b" in outcome.text


def test_an_example_is_not_written_to(story):
    """A model that changes its input in place changes a copy."""
    outcome = story("""
        class InPlace(nn.Module):
            def forward(self, x):
                x += 1
                return x * 2
        @onnx_export(lambda: InPlace(), inputs=X, exporter="torchscript", opset=17,
                     samples=lambda: {"x": SAMPLE})
        @parity()
        def test_a(onnx_model): pass
        SAMPLE = np.zeros((2, 4), "float32")
        def test_b(): assert not SAMPLE.any()
        """)

    assert outcome.counts() == {"pass": 2}
    assert "PASSED test_story.py::test_b" in outcome.text


def test_a_lone_number_is_an_input(story):
    """A 0-d input is fed as one, traced, fuzzed and compared."""
    outcome = story("""
        class Scale(nn.Module):
            def forward(self, x, factor):
                assert factor.dim() == 0
                return x * factor
        @onnx_export(lambda: Scale(), inputs={**X, "factor": "float32[]"}, exporter="torchscript", opset=17,
                     samples=lambda: {"x": np.ones((2, 4), "f"), "factor": np.float32(3)})
        @parity()
        def test_x(onnx_model): pass
        """)

    assert outcome.counts() == {"pass": 2}
    assert outcome.one("parity")["figures"]["refused"] == 0


def test_a_refused_size_is_counted_not_failed(story):
    """Sizes the framework itself does not take are no conversion bug."""
    outcome = story("""
        class Even(nn.Module):
            def forward(self, x):
                return x.reshape(-1, 2, 4).sum(1)
        @onnx_export(lambda: Even(), inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model): pass
        """)
    figures = outcome.one("parity")["figures"]

    assert outcome.verdict("parity") == "pass"
    assert figures["refused"] > 0
    assert "refused" in outcome.one("parity")["summary"]


def test_a_model_that_refuses_everything_is_an_error(story):
    """Nothing was compared, so nothing passes."""
    outcome = story("""
        class Picky(nn.Module):
            calls = 0
            def forward(self, x):
                if not torch.onnx.is_in_onnx_export():
                    Picky.calls += 1
                    if Picky.calls > 1:
                        raise ValueError("no more")
                return x
        @onnx_export(lambda: Picky(), inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_x(onnx_model): pass
        """)

    assert outcome.verdict("parity") in ("error", "fail")
    assert outcome.result.ret != 0


def test_nan_from_both_agrees_and_from_one_does_not(story):
    """NaN only where the framework has NaN."""
    outcome = story("""
        class Log(nn.Module):
            def forward(self, x):
                return torch.log(x)
        class Masked(nn.Module):
            def forward(self, x):
                return torch.log(x) if torch.jit.is_tracing() else torch.nan_to_num(torch.log(x), 0.0)
        @onnx_export(lambda: Log(), inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_both(onnx_model): pass
        @onnx_export(lambda: Masked(), inputs=X, exporter="torchscript", opset=17)
        @parity()
        def test_one(onnx_model): pass
        """)
    verdicts = {name.partition("[")[0]: verdict for name, verdict in outcome.verdicts.items() if "parity" in name}

    assert verdicts == {"test_both": "pass", "test_one": "fail"}
    assert "NaN" in outcome.text or "-inf" in outcome.text
