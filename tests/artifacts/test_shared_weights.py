"""Large models: one copy of the weights for both sides, as long as the bytes are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.artifacts.shared_weights import shared_weights
from pytest_onnxprep.sources import onnx_file
from pytest_onnxprep.sources.torch_module import TorchSource
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import parse_tensor_spec
from pytest_onnxprep.spec.variant import Variant


def linear(path: Path, module: torch.nn.Linear, name: str = "model.weight") -> OnnxModel:
    """The layer as a file with external data, together with its source."""
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(module.weight.detach().numpy().copy(), name)
    bias = numpy_helper.from_array(module.bias.detach().numpy().copy(), "model.bias")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", name, "model.bias"], ["y"], transB=1)],
        "linear",
        [value("x", TensorProto.FLOAT, ["batch", module.in_features])],
        [value("y", TensorProto.FLOAT, ["batch", module.out_features])],
        [weight, bias],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, path, save_as_external_data=True, location="model.data", size_threshold=0)
    signature = Signature({"x": parse_tensor_spec(f"float32[batch, {module.in_features}]")})
    return OnnxModel(path, signature, TorchSource(module), Variant("none"), {})


@pytest.fixture
def layer() -> torch.nn.Linear:
    """A layer whose weight is large enough to be shared."""
    torch.manual_seed(0)
    return torch.nn.Linear(512, 640).eval()


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file with external data counts as large."""
    monkeypatch.setattr(onnx_file, "LARGE_BYTES", 1)


FEEDS = {"x": np.linspace(-1, 1, 1024, dtype=np.float32).reshape(2, 512)}


def test_equal_weights_are_the_frameworks_own_memory(layer: torch.nn.Linear, tmp_path: Path) -> None:
    """By content, whatever the name; small tensors are left to the file."""
    for name in ("model.weight", "onnx::Gemm_7"):
        model = linear(tmp_path / "m.onnx", layer, name)

        found = shared_weights(model.path, model.graph_proto, model.source)

        assert list(found) == [name]
        assert np.shares_memory(found[name], layer.weight.detach().numpy())


def test_the_name_decides_between_equal_tensors(tmp_path: Path) -> None:
    """Two layers of the same weights: each initializer gets its own layer's."""
    pair = torch.nn.ModuleDict({"first": torch.nn.Linear(512, 640), "second": torch.nn.Linear(512, 640)})
    pair["second"].load_state_dict(pair["first"].state_dict())
    model = linear(tmp_path / "m.onnx", pair["second"], "model.second.weight")

    found = shared_weights(model.path, model.graph_proto, TorchSource(pair))

    assert np.shares_memory(found["model.second.weight"], pair["second"].weight.detach().numpy())


@pytest.mark.usefixtures("large")
def test_a_large_file_runs_on_shared_weights(layer: torch.nn.Linear, tmp_path: Path) -> None:
    """The session packs no copy, and gives what the framework gives."""
    model = linear(tmp_path / "m.onnx", layer)

    np.testing.assert_allclose(model.run(FEEDS)["y"], model.reference(FEEDS)["output"], atol=1e-5)
    options = model.session.get_session_options()
    assert options.get_session_config_entry("session.disable_prepacking") == "1"
    assert np.shares_memory(model.session.onnxprep_weights[0]["model.weight"], layer.weight.detach().numpy())


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("place", [0, 500_000, 512 * 640 * 4 - 1])
def test_one_other_byte_in_the_file_is_seen(layer: torch.nn.Linear, tmp_path: Path, place: int) -> None:
    """What the file holds is what runs: a weight damaged on the way is not replaced by the framework's."""
    model = linear(tmp_path / "m.onnx", layer)
    (entry,) = [t for t in model.graph_proto.graph.initializer if t.name == "model.weight"]
    offset = int({e.key: e.value for e in entry.external_data}.get("offset") or 0)
    data = bytearray((tmp_path / "model.data").read_bytes())
    data[offset + place] ^= 0x40
    (tmp_path / "model.data").write_bytes(data)

    assert shared_weights(model.path, model.graph_proto, model.source) == {}
    damaged = np.frombuffer(bytes(data), np.float32, 512 * 640, offset).reshape(640, 512)
    expected = FEEDS["x"] @ damaged.T + layer.bias.detach().numpy()
    np.testing.assert_allclose(model.run(FEEDS)["y"], expected, rtol=1e-4, atol=1e-4)


def test_a_short_data_file_shares_nothing(layer: torch.nn.Linear, tmp_path: Path) -> None:
    """Missing bytes are no equal bytes."""
    model = linear(tmp_path / "m.onnx", layer)
    with (tmp_path / "model.data").open("r+b") as file:
        file.truncate(1000)

    assert shared_weights(model.path, model.graph_proto, model.source) == {}


def test_other_files_run_as_in_production(layer: torch.nn.Linear, tmp_path: Path) -> None:
    """Below the limit nothing is shared, and ONNX Runtime packs its weights."""
    model = linear(tmp_path / "m.onnx", layer)

    assert not model.is_large
    assert model.session.onnxprep_weights[0] is None


@pytest.mark.parametrize("kind", ["bfloat16", "meta", "sparse"])
def test_weights_without_a_view_are_left_out(kind: str) -> None:
    """What numpy cannot look at is not offered."""
    made: dict[str, Any] = {
        "bfloat16": torch.ones(2, dtype=torch.bfloat16),
        "meta": torch.ones(2, device="meta"),
        "sparse": torch.eye(2).to_sparse(),
    }
    module = torch.nn.Linear(2, 3)
    module.register_buffer("odd", made[kind])

    assert [name for name, _ in TorchSource(module).held_weights()] == ["weight", "bias"]
