"""What changes the file changes the key; what does not, does not."""

from __future__ import annotations

import pytest

NET = """
import torch
from torch import nn
from helper import scale

WIDTH = 5

class Inner(nn.Module):
    def forward(self, x):
        return {inner}

class Net(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.first = nn.Linear(4, WIDTH)
        self.inner = Inner()
        self.factor = {factor}
    def forward(self, x):
        return scale(self.inner(self.first(x))) * self.factor

def build():
    torch.manual_seed({seed})
    return Net().eval()
"""
HELPER = "def scale(x): return x * {by}\n"
TEST = """
from net import build as build_net

@onnx_export(build_net, inputs={{"x": "{shape}"}}, exporter="torchscript", opset={opset}{more})
{marks}def test_{name}(onnx_model): pass
"""

PLAIN = {
    "inner": "torch.relu(x)",
    "factor": "factor",
    "seed": 0,
    "by": 3,
    "shape": "float32[batch, 4]",
    "opset": 17,
    "more": "",
    "marks": "",
    "name": "x",
}

CHANGES = {
    "weights": {"seed": 1},
    "a plain attribute": {"factor": 3.0},
    "the forward of an inner module": {"inner": "torch.tanh(x)"},
    "a function of another file": {"by": 4},
    "the opset": {"opset": 16},
    "a dim's name": {"shape": "float32[rows, 4]"},
    "a dim that is fixed": {"shape": "float32[2, 4]"},
    "a dim's range": {"more": ', dims={"batch": (3, 9)}'},
    "the traced size": {"more": ', dims={"batch": Dim(1, 8, example=5)}'},
    "an option": {"more": ', options={"do_constant_folding": False}'},
    "an output's name": {"more": ', outputs=["y"]'},
}
SAME = {
    "nothing": {},
    "another check": {"marks": "@size_budget(mb=1)\n"},
    "the name of the test": {"name": "other"},
}


@pytest.fixture
def export(story):
    """Run one project and tell whether the export came from the cache."""

    def run(**changes):
        values = PLAIN | changes
        story.pytester.makepyfile(net=NET.format(**values), helper=HELPER.format(**values))
        outcome = story(TEST.format(**values), "--onnxprep-cache=own", cache=False)
        assert set(outcome.verdicts.values()) == {"pass"}
        return outcome.one("export")["figures"]["cached"]

    return run


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_that_matters_exports_anew(export, change):
    """Weights, code, opset, dims and options are part of the key."""
    assert [export(), export(**change)] == [False, False]


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_a_change_that_does_not_matter_finds_the_old_export(export, change):
    """The same model and declaration are exported once."""
    assert [export(), export(**change)] == [False, True]


def test_the_old_version_is_still_there(export):
    """Going back finds the first export again."""
    assert [export(), export(seed=1), export()] == [False, False, True]


def test_the_cache_works_between_processes(story):
    """A second run of pytest finds what the first one made."""
    story.pytester.makepyfile(net=NET.format(**PLAIN), helper=HELPER.format(**PLAIN))
    story.write(TEST.format(**PLAIN))
    runs = [story.run("--onnxprep-cache=own", cache=False, subprocess=True) for _ in range(2)]

    assert [run.one("export")["figures"]["cached"] for run in runs] == [False, True]


def test_a_damaged_export_is_made_again(export, story):
    """A file that was tampered with is not served."""
    first = export()
    (path,) = (story.path / "own").rglob("model.onnx")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])

    assert [first, export()] == [False, False]
