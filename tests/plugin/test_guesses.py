"""What is guessed at collection is put right once the model is built."""

from __future__ import annotations

import functools
from typing import Any

from pytest_onnxprep.plugin.infer import infer_framework


def test_a_wrong_guess_of_the_exporter_is_put_right(story: Any) -> None:
    """A factory that looks like eager torch but returns TorchScript is exported by the exporter that takes it."""
    outcome = story(
        """
        def build_scripted() -> nn.Module:
            return torch.jit.script(nn.Linear(4, 3).eval())

        @onnx_export(build_scripted, inputs=X)
        @parity()
        def test_x(onnx_model):
            assert onnx_model.variant.exporter == "torchscript"
        """
    )

    assert set(outcome.verdicts) == {
        "test_x[dynamo-opset20-export]",
        "test_x[dynamo-opset20-parity]",
    }
    assert outcome.counts() == {"pass": 2}
    assert outcome.one("export")["variant"]["exporter"] == "torchscript"


def test_an_exporter_the_user_named_is_not_replaced(story: Any) -> None:
    """`exporter="dynamo"` for a module with a TorchScript part is refused with the way out."""
    outcome = story(
        """
        @onnx_export(lambda: nn.Sequential(torch.jit.script(nn.Linear(4, 3).eval())), inputs=X, exporter="dynamo")
        def test_x(onnx_model):
            pass
        """
    )

    assert outcome.verdict("export") == "error"
    assert "torchscript" in outcome.text


def test_the_class_gives_the_source_and_the_test_the_opset(story: Any) -> None:
    """`onnx_export` of class and test are merged, whichever of them names the source."""
    outcome = story(
        """
        @onnx_export(build, inputs=X)
        class TestNet:
            @onnx_export(opset=17)
            def test_x(self, onnx_model):
                assert onnx_model.opset == 17
        """
    )

    assert outcome.counts() == {"pass": 1}


def test_a_sample_does_not_decide_what_is_traced(story: Any) -> None:
    """Pinning the input that showed a baked-in branch keeps showing it."""
    outcome = story(
        """
        @onnx_export(
            build_branches, inputs=X, opset=17, samples=lambda: {"x": np.full((5, 4), 3, "float32")}
        )
        @parity()
        def test_x(onnx_model):
            pass
        """
    )

    assert outcome.verdict("parity") == "fail"
    assert outcome.one("parity")["figures"]["minimal"] == {"sample": "sample 0"}


def test_a_model_that_refuses_made_up_inputs_is_traced_with_a_sample(story: Any) -> None:
    """Only where nothing else works do samples serve as the example."""
    outcome = story(
        """
        class Picky(nn.Module):
            def forward(self, x):
                if not torch.jit.is_tracing() and float(x[0, 0]) != 7:
                    raise ValueError("wants a 7 first")
                return x * 2

        @onnx_export(Picky, inputs=X, opset=17, samples=lambda: {"x": np.full((2, 4), 7, "float32")})
        def test_x(onnx_model):
            pass
        """
    )

    assert outcome.verdict("export") == "pass"


def test_a_cached_helper_is_looked_into() -> None:
    """What `functools.cache` wraps has no globals of its own; the guess follows the function inside."""

    @functools.cache
    def helper() -> Any:
        import torch

        return torch.nn.Linear(1, 1)

    def build() -> Any:
        return helper()

    assert infer_framework(build) == "torch"


def test_a_cached_factory_is_a_factory(story: Any) -> None:
    """What ``functools.cache`` makes of a function has no globals, and is looked through."""
    outcome = story(
        """
        import functools

        @functools.cache
        def make():
            return nn.Linear(4, 3).eval()

        def build():
            return make()

        @onnx_export(build, inputs=X)
        def test_x(onnx_model):
            pass
        """
    )

    assert outcome.counts() == {"pass": 1}
