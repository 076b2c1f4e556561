"""Dims declared dynamic hold over the whole declared range, or torch's own reason says where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
from torch import nn  # noqa: E402

from pytest_onnxprep import Dim  # noqa: E402
from pytest_onnxprep.errors import SpecError  # noqa: E402
from pytest_onnxprep.exporters.narrowing import breached  # noqa: E402
from pytest_onnxprep.fuzz.example import Maker  # noqa: E402
from pytest_onnxprep.spec.export_request import read_export  # noqa: E402

PICTURE = {"x": "float32[1, 3, h, w]"}


class Large(nn.Module):
    def forward(self, x):
        if x.shape[0] > 4:
            return x * 2
        return x


class Square(nn.Module):
    def forward(self, x):
        return x + x.transpose(2, 3)


class Eighths(nn.Module):
    def forward(self, x):
        if x.shape[2] % 8 == 0:
            return x * 2
        return x + 1


class Pooled(nn.Module):
    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, (3, 3))


class Pairs(nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0] // 2, 2, -1)


class Alike(nn.Module):
    def forward(self, x, y):
        if x.shape[0] == y.shape[0]:
            return x + y
        return x[:1] + y[:1]


class Plain(nn.Module):
    """Convolution, attention and normalisation, none of which assumes anything of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        y = self.norm(self.conv(x)).flatten(2).transpose(1, 2)
        return self.attention(y, y, y)[0]


@pytest.mark.parametrize(
    ("module", "arguments", "guard", "line", "sizes"),
    [
        (
            Large(),
            {"inputs": {"x": "float32[b, 3]"}, "dims": {"b": (2, 100)}},
            "b <= 4",
            "if x.shape[0] > 4:",
            {"b": 5},
        ),
        (
            Square(),
            {"inputs": PICTURE, "dims": {"h": Dim(2, 8, example=4), "w": Dim(2, 8, example=4)}},
            "w == h",
            "return x + x.transpose(2, 3)",
            {"h": 2, "w": 3},
        ),
        (
            Eighths(),
            {"inputs": PICTURE, "dims": {"h": Dim(2, 64, example=16)}},
            "h % 8 == 0",
            "if x.shape[2] % 8 == 0:",
            {"h": 2},
        ),
        (
            Alike(),
            {"inputs": {"x": "float32[a, 3]", "y": "float32[b, 3]"}},
            "a != b",
            "if x.shape[0] == y.shape[0]:",
            {"a": 2, "b": 2},
        ),
        (
            Pairs(),
            {"inputs": {"x": "float32[b, 3]"}, "dims": {"b": Dim(2, 16, example=4)}},
            None,
            "return x.reshape(x.shape[0] // 2, 2, -1)",
            {"b": 3},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_narrowed_range_is_recorded_with_its_reason(export, module, arguments, guard, line, sizes):
    """Torch goes on without a word; the record has the condition, the user's line, and a size that it leaves out."""
    model = export(module.eval(), "dynamo", **arguments)
    (record,) = model.provenance["narrowed"]

    assert guard in (None, record["guard"])
    assert (Path(record["file"]).name, record["function"]) == ("test_dynamic_contract.py", "forward")
    assert record["code"] == line
    assert record["try"][0] == sizes
    assert not record["minor"]
    assert breached(model.provenance, dict.fromkeys(model.signature.dims, 4) | sizes) == [record]


def test_lowering_to_onnx_narrows_too(export):
    """Adaptive pooling is right in torch.export and fixed to one size by the lowering, which drops the guard."""
    model = export(
        Pooled().eval(), "dynamo", inputs=PICTURE, dims={"h": Dim(3, 32, example=9), "w": Dim(3, 32, example=9)}
    )
    (record,) = model.provenance["narrowed"]

    assert record["code"] == "return nn.functional.adaptive_avg_pool2d(x, (3, 3))"
    assert "h % 3 == 0" in record["guard"]
    (sizes, _) = record["try"]
    feeds = _feeds(model, **sizes)
    expected = model.reference(feeds)["output"]
    found = model.run(feeds)["output"]
    assert found.shape != expected.shape or not np.allclose(found, expected)


def test_narrowed_size_is_where_the_file_is_wrong(export):
    """The size to try first does show the fault, in one run."""
    model = export(Large().eval(), "dynamo", inputs={"x": "float32[b, 3]"}, dims={"b": (2, 100)})
    feeds = _feeds(model, **model.provenance["narrowed"][0]["try"][0])

    assert not np.allclose(model.run(feeds)["output"], model.reference(feeds)["output"])


def test_range_inside_the_branch_is_no_news(export):
    """Sizes that take one path only are declared: nothing was narrowed."""
    model = export(Large().eval(), "dynamo", inputs={"x": "float32[b, 3]"}, dims={"b": (1, 4)})

    assert "narrowed" not in model.provenance


def test_ordinary_layers_narrow_nothing(export):
    """Convolution, normalisation and attention over free sizes leave nothing but sizes 0 and 1 out, at most."""
    model = export(Plain().eval(), "dynamo", inputs={"x": "float32[b, 3, h, w]"})

    assert [record for record in model.provenance.get("narrowed", ()) if not record["minor"]] == []


def test_attempt_that_failed_assumes_nothing(export):
    """torch.export's first attempt fixes the size, its second does not: only the second made the file."""

    class Scaled(nn.Module):
        def forward(self, x):
            return x * (1 / (int(x.shape[1]) ** 0.5))

    model = export(Scaled().eval(), "dynamo", inputs={"x": "float32[b, t]"}, dims={"t": (2, 16)})

    assert "narrowed" not in model.provenance
    export.agrees(model, b=3, t=9)


def test_narrowing_survives_the_cache(export):
    """What is found in the store knows as much as what was made."""
    module = Large().eval()
    made = export(module, "dynamo", inputs={"x": "float32[b, 3]"})
    export.workshop._made.clear()
    found = export(module, "dynamo", inputs={"x": "float32[b, 3]"})

    assert found.cached
    assert found.provenance["narrowed"] == made.provenance["narrowed"]


def test_transformers_exporter_is_watched_too(export):
    """Inputs that torch calls by name are told by their dims."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = export(transformers.BertForSequenceClassification(config).eval(), "transformers")

    for record in model.provenance.get("narrowed", ()):
        assert record["minor"]
        assert set(record["declared"]) <= {"batch", "seq"}
    assert "restored" not in model.provenance


def test_missing_hook_of_torch_costs_nothing_but_the_reason(export, monkeypatch):
    """The method that is watched is private to torch: without it the export is the same."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    monkeypatch.setattr(ShapeEnv, "_log_guard", property())
    monkeypatch.delattr(ShapeEnv, "_log_guard")
    monkeypatch.setattr(ShapeEnv, "__getattr__", lambda *_: lambda *_, **__: None, raising=False)
    model = export(Large().eval(), "dynamo", inputs={"x": "float32[b, 3]"})

    assert "narrowed" not in model.provenance


@pytest.mark.parametrize(
    ("dynamic_axes", "words"),
    [
        ({"imgae": {0: "batch"}}, "'imgae', which is no input or output; did you mean 'image'?"),
        ({"image": {4: "batch"}}, "axis 4 is outside the example's rank 4"),
        ({"image": {"0": "batch"}}, "axis '0' is outside the example's rank 4"),
        ([0], "must map names to axes"),
    ],
)
def test_misspelt_dynamic_axis_is_an_error(dynamic_axes, words):
    """Torch ignores such a key without a word."""
    with pytest.raises(SpecError) as caught:
        read_export(inputs={"image": torch.zeros(1, 3, 8, 8)}, dynamic_axes=dynamic_axes)

    assert words in str(caught.value)


def test_range_of_a_dim_nobody_has_is_an_error():
    """A range under a misspelt name would be no range at all."""
    with pytest.raises(SpecError, match=r"no input has a dim named 'bacth'; did you mean 'batch'\?"):
        read_export(inputs={"x": "float32[batch, 3]"}, dims={"bacth": (1, 4)})


def _feeds(model: Any, **sizes: int) -> dict[str, np.ndarray]:
    maker = Maker(model.signature)
    return maker.feeds(maker.plain({**model.signature.trace_sizes(), **sizes}))
