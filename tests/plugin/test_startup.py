"""What loading the plugin must not cost."""

import json

import pytest

HEAVY = ("torch", "tensorflow", "keras", "jax", "transformers", "onnx", "onnxruntime", "hypothesis", "numpy")

SUITE = """
from pytest_onnxprep import Dim, TensorSpec, latency_budget, onnx_export, parity, size_budget

def build():
    import torch
    return torch.nn.Linear(4, 4)

@onnx_export(
    build,
    inputs={"x": "float32[batch, 4]", "ids": TensorSpec("int64", "batch, seq", low=0, high=9)},
    dims={"batch": (1, 8), "seq": Dim(8, 64, multiple_of=8)},
    opset=[17, 20],
)
@parity(atol=1e-4)
@latency_budget(p95_ms=5, at={"batch": 1})
@size_budget(mb=1)
def test_model(onnx_model):
    pass
"""

CONFTEST = """
import json, sys

def pytest_unconfigure():
    with open("modules.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


def test_collecting_a_suite_of_marks_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    """Collecting marked tests, ids with exporter names included, imports no framework and no runtime."""
    pytester.makepyfile(SUITE)
    pytester.makeconftest(CONFTEST)

    # Hypothesis's own plugin imports Hypothesis when pytest ends, that of jaxtyping (Equinox needs it) NumPy at once.
    others = ("-p", "no:hypothesispytest", "-p", "no:jaxtyping")
    result = pytester.runpytest_subprocess("--collect-only", "-q", *others)

    result.stdout.fnmatch_lines(["*test_model[[]torchscript-opset17-export]", "*test_model[[]dynamo-opset20-size]"])
    modules = set(json.loads((pytester.path / "modules.json").read_text()))
    loaded = {name.partition(".")[0] for name in modules}
    assert loaded.isdisjoint(HEAVY), loaded & set(HEAVY)
    assert "pytest_onnxprep.spec.target" not in modules  # reads TOML; nobody asked for a device


def test_version_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    """`pytest --version` with the plugin named on the command line loads its hooks and options at most."""
    script = pytester.makepyfile(
        probe="""
        import sys
        import pytest
        pytest.main(["--version", "-p", "pytest_onnxprep.plugin"])
        light = {"", ".plugin", ".plugin.fixtures", ".plugin.options"}
        ours = {name for name in sys.modules if name.startswith("pytest_onnxprep")}
        print("MORE", sorted(ours - {"pytest_onnxprep" + name for name in light}))
        print("HEAVY", sorted(set(sys.modules) & {"torch", "numpy", "onnx", "onnxruntime", "hypothesis"}))
        """
    )

    result = pytester.runpython(script)

    assert "MORE []" in result.outlines
    assert "HEAVY []" in result.outlines
