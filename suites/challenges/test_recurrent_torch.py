"""PyTorch's recurrent layers over any length, and the three ways in which sequences go wrong.

Broken forms must be caught, sound forms must pass.
"""

import onnx
import pytest

from pytest_onnxprep import ExportFailed, ParityError, TensorSpec, assert_parity, onnx_export, parity

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

SEQUENCE = {"inputs": {"x": "float32[batch, seq, 4]"}, "dims": {"batch": (1, 4), "seq": (1, 9)}}
LENGTHS = {
    "inputs": {"x": "float32[batch, seq, 4]", "lengths": "int64[batch]"},
    "dims": {"batch": (1, 4), "seq": (1, 9)},
}

STATE = {
    "inputs": {"x": "float32[batch, seq, 4]", "h": "float32[1, batch, 3]", "c": "float32[1, batch, 3]"},
    "dims": {"batch": (1, 4), "seq": (1, 9)},
}


def lengths_within(dims, rng):
    """Sequences of their own lengths, the longest as long as the padding."""
    lengths = rng.integers(1, dims["seq"] + 1, dims["batch"])
    lengths[0] = dims["seq"]
    x = rng.normal(size=(dims["batch"], dims["seq"], 4)).astype("float32")
    return {"x": x, "lengths": lengths}


class Recurrent(torch.nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        torch.manual_seed(0)
        self.layer = kind(4, 3, batch_first=True, **options)

    def forward(self, x):
        return self.layer(x)[0]


def build_rnn():
    return Recurrent(torch.nn.RNN).eval()


def build_gru():
    return Recurrent(torch.nn.GRU, num_layers=2).eval()


def build_bidirectional():
    return Recurrent(torch.nn.LSTM, bidirectional=True).eval()


class InitialState(torch.nn.Module):
    """State goes in and comes out: what a streaming deployment carries from call to call."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.LSTM(4, 3, batch_first=True)

    def forward(self, x, h, c):
        y, (h, c) = self.layer(x, (h, c))
        return {"y": y, "h_next": h, "c_next": c}


class Packed(torch.nn.Module):
    """The recurrent layer stops at each sequence's own length."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.LSTM(4, 3, batch_first=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=x.shape[1])[0]


class Masked(torch.nn.Module):
    """The same answers for a causal layer, by a mask over its padded output."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.LSTM(4, 3, batch_first=True)

    def forward(self, x, lengths):
        y, _ = self.layer(x)
        return y * (torch.arange(x.shape[1])[None, :] < lengths[:, None])[..., None]


class Stateful(torch.nn.Module):
    """Keeps its state in a buffer: every call goes on where the last one ended."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell = torch.nn.GRUCell(4, 3)
        self.register_buffer("state", torch.zeros(1, 3))

    def forward(self, x):
        self.state = self.cell(x, self.state)
        return self.state


class Carried(torch.nn.Module):
    """The same cell with the state as an input and an output."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell = torch.nn.GRUCell(4, 3)

    def forward(self, x, state):
        return self.cell(x, state)


@onnx_export(build_rnn, **SEQUENCE, exporter="torchscript")
@parity()
def test_rnn(onnx_model):
    assert onnx_model.operators["RNN"] == 1


@pytest.mark.xfail(
    strict=True, raises=ExportFailed, reason="torch 2.13: torch.export unrolls nn.RNN, which fixes its length"
)
def test_rnn_in_dynamo(onnx_exporter):
    onnx_exporter(build_rnn, **SEQUENCE, exporter="dynamo")


def build_bidirectional_rnn():
    return Recurrent(torch.nn.RNN, bidirectional=True).eval()


@pytest.mark.xfail(
    strict=True, raises=ExportFailed, reason="torch 2.13: torch.export unrolls nn.RNN, which fixes its length"
)
def test_bidirectional_rnn_in_dynamo(onnx_exporter):
    onnx_exporter(build_bidirectional_rnn, **SEQUENCE, exporter="dynamo")


@onnx_export(build_bidirectional_rnn, **SEQUENCE, exporter="torchscript")
@parity()
def test_bidirectional_rnn(onnx_model):
    assert onnx_model.operators["RNN"] == 1


@onnx_export(build_bidirectional_rnn, inputs={"x": "float32[batch, 5, 4]"}, dims={"batch": (1, 4)}, exporter="dynamo")
@parity()
def test_bidirectional_rnn_of_one_length(onnx_model):
    assert "RNN" not in onnx_model.operators  # five steps, written out


def build_projected():
    return Recurrent(torch.nn.LSTM, proj_size=2).eval()


@pytest.mark.xfail(
    strict=True,
    raises=(ExportFailed, ParityError),
    reason="ONNX's LSTM has no projection: torch 2.13's tracer says so, its dynamo exporter writes one that ONNX "
    "Runtime refuses (Input initial_c must have shape {1,1,2}. Actual:{1,1,3})",
)
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_projected_lstm(onnx_exporter, exporter):
    assert_parity(onnx_exporter(build_projected, **SEQUENCE, exporter=exporter))


@onnx_export(build_gru, **SEQUENCE, exporter=["dynamo", "torchscript"], opset=18)
@parity()
def test_gru_of_two_layers(onnx_model):
    assert onnx_model.operators["GRU"] == 2


@onnx_export(build_bidirectional, **SEQUENCE, exporter=["dynamo", "torchscript"], opset=18)
@parity()
def test_bidirectional_lstm(onnx_model):
    assert onnx_model.operators["LSTM"] == 1


@onnx_export(
    InitialState,
    **STATE,
    exporter=["dynamo", "torchscript"],
    opset=18,
)
@parity()
def test_initial_state(onnx_model):
    assert onnx_model.output_names == ["y", "h_next", "c_next"]


def reset_before(node, weights):
    """The reset gate before the product, as other libraries have it: the attribute that converters forget."""
    (attribute,) = [attribute for attribute in node.attribute if attribute.name == "linear_before_reset"]
    assert attribute.i == 1
    attribute.i = 0


def directions_swapped(node, weights):
    """The weights of the backward pass for the forward one, and the other way round."""
    for name in node.input[1:4]:
        array = onnx.numpy_helper.to_array(weights[name])
        assert len(array) == 2
        weights[name].CopyFrom(onnx.numpy_helper.from_array(array[::-1].copy(), name))


def state_dropped(node, weights):
    """Zeros in place of the state that comes in."""
    assert node.input[5]
    assert node.input[6]
    node.input[5] = node.input[6] = ""


@pytest.mark.parametrize(
    ("build", "arguments", "operator", "edit"),
    [
        (build_gru, SEQUENCE, "GRU", reset_before),
        (build_bidirectional, SEQUENCE, "LSTM", directions_swapped),
        (InitialState, STATE, "LSTM", state_dropped),
    ],
)
def test_file_of_another_converter(onnx_exporter, tmp_path, build, arguments, operator, edit):
    """One attribute, input or weight of the recurrent node is not the model's; the file is valid all the same."""
    model = onnx_exporter(build, **arguments, exporter="torchscript")
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    edit(next(node for node in proto.graph.node if node.op_type == operator), weights)
    onnx.save(proto, tmp_path / "theirs.onnx")

    theirs = onnx_exporter(build, **arguments, artifact=tmp_path / "theirs.onnx")
    with pytest.raises(ParityError, match="differs"):
        assert_parity(theirs)


@onnx_export(Packed, **LENGTHS, generate=lengths_within, exporter="torchscript")
@parity()
def test_packed(onnx_model):
    assert onnx_model.operators["LSTM"] == 1


@pytest.mark.xfail(
    strict=True, raises=ExportFailed, reason="torch 2.13: pack_padded_sequence has no form in torch.export"
)
def test_packed_in_dynamo(onnx_exporter):
    onnx_exporter(Packed, **LENGTHS, generate=lengths_within, exporter="dynamo")


@onnx_export(
    Packed,
    **LENGTHS,
    generate=lengths_within,
    exporter="dynamo",
    options={"rewritten": Masked},
)
@parity()
def test_packed_rewritten_with_a_mask(onnx_model):
    """What dynamo cannot export is exported by an equivalent, and held to the packed original."""
    assert onnx_model.provenance["rewritten_as"].startswith("Masked")


def test_padding_taken_for_data(onnx_exporter):
    """Without the mask the padding answers too: held to the packed original, it is caught."""

    class Unmasked(Masked):
        def forward(self, x, lengths):
            return self.layer(x)[0] + 0 * lengths[:, None, None]

    model = onnx_exporter(
        Packed, **LENGTHS, generate=lengths_within, exporter="torchscript", options={"rewritten": Unmasked}
    )
    with pytest.raises(ParityError, match="'output' differs"):
        assert_parity(model)


def test_state_in_a_buffer(onnx_exporter):
    """Both exporters freeze the buffer; the reference itself gives another answer at every call, and that is said."""
    model = onnx_exporter(Stateful, inputs={"x": "float32[1, 4]"}, exporter="torchscript")
    with pytest.raises(ParityError, match=r"(?s)not repeatable.*state"):
        assert_parity(model)


@onnx_export(
    Carried,
    inputs={"x": "float32[batch, 4]", "state": TensorSpec("float32", "batch, 3", low=-1, high=1)},
    dims={"batch": (1, 4)},
    exporter=["dynamo", "torchscript"],
    opset=18,
)
@parity()
def test_state_carried_by_the_caller(onnx_model):
    assert not {"Loop", "If"} & set(onnx_model.operators)
