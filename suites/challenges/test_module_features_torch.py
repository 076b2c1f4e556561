"""What PyTorch modules do beside their layers: hooks, buffers, modes, parametrised and shared weights, complex numbers.

Broken forms must be caught, sound forms must pass.
"""

import pytest

from pytest_onnxprep import ExportFailed, ParityError, TensorSpec, assert_parity, onnx_export, parity

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

X = {"inputs": {"x": "float32[batch, 4]"}, "dims": {"batch": (1, 4)}}
BOTH = {"exporter": ["dynamo", "torchscript"], "opset": 18}


def build(module):
    torch.manual_seed(0)
    return module().eval()


# -- custom autograd functions ------------------------------------------------------------------------------------


class StraightThrough(torch.autograd.Function):
    """Rounds, with a gradient of its own: what an export needs is its forward."""

    @staticmethod
    def forward(ctx, x):
        return torch.floor(x * 4) / 4

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class WrongSymbolic(StraightThrough):
    """Its `symbolic`, which the TorchScript exporter believes, forgot the scale."""

    @staticmethod
    def symbolic(g, x):
        return g.op("Floor", x)


class Quantised(torch.nn.Module):
    function = StraightThrough

    def forward(self, x):
        return self.function.apply(x)


class WronglyQuantised(Quantised):
    function = WrongSymbolic


@onnx_export(Quantised, **X, **BOTH)
@parity()
def test_autograd_function(onnx_model):
    assert onnx_model.operators["Floor"] == 1


def test_autograd_function_with_a_wrong_symbolic(onnx_exporter):
    model = onnx_exporter(WronglyQuantised, **X, exporter="torchscript")
    with pytest.raises(ParityError, match="'output' differs"):
        assert_parity(model)


# -- hooks --------------------------------------------------------------------------------------------------------


def build_hooked():
    net = build(lambda: torch.nn.Linear(4, 3))
    net.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    net.register_forward_hook(lambda module, inputs, output: output + 1)
    return net


def build_hooked_by_value():
    """A hook that looks at values: the tracer keeps what it did for the example."""
    net = build(lambda: torch.nn.Linear(4, 3))
    net.register_forward_hook(lambda module, inputs, output: output * 2 if inputs[0].max() > 0 else output)
    return net


@onnx_export(build_hooked, **X, **BOTH)
@parity()
def test_hooks(onnx_model):
    assert onnx_model.operators["Gemm"] == 1


def test_hook_that_decides_by_value(onnx_exporter):
    model = onnx_exporter(build_hooked_by_value, **X, exporter="torchscript")
    with pytest.raises(ParityError, match="'output' differs"):
        assert_parity(model)


# -- buffers ------------------------------------------------------------------------------------------------------


class Monitored(torch.nn.Module):
    """Counts its calls, which no answer depends on."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        return x * 2


class Counting(Monitored):
    """Adds the count to its answer."""

    def forward(self, x):
        self.calls += 1
        return x + self.calls


@onnx_export(Monitored, **X, exporter="torchscript")
@parity()
def test_buffer_that_only_counts(onnx_model):
    assert not onnx_model.source.model.calls  # the export left the model's own count as it was


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_buffer_that_answers_depend_on(onnx_exporter, exporter):
    model = onnx_exporter(Counting, **X, exporter=exporter)
    with pytest.raises(ParityError, match=r"(?s)not repeatable.*state"):
        assert_parity(model)


# -- modes --------------------------------------------------------------------------------------------------------


def build_normalised(mode):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5)).train(mode)


def build_dropout():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5)).train()


@onnx_export(lambda: build_normalised(False), **X, **BOTH)
@parity()
def test_inference_mode(onnx_model):
    assert not {"Dropout", "RandomUniformLike"} & set(onnx_model.operators)


def test_dropout_in_train_mode(onnx_exporter):
    model = onnx_exporter(build_dropout, **X, exporter="torchscript")
    with pytest.raises(ParityError, match="dropout is active"):
        assert_parity(model)


def test_normalisation_in_train_mode(onnx_exporter):
    """BatchNorm left in train mode answers by its batch and updates its statistics."""
    several = {"inputs": X["inputs"], "dims": {"batch": (2, 4)}}
    model = onnx_exporter(lambda: build_normalised(True), **several, exporter="torchscript")
    with pytest.raises(ParityError, match=r"train mode: '1' \(BatchNorm1d\) uses batch statistics"):
        assert_parity(model)


# -- weights ------------------------------------------------------------------------------------------------------


class Parametrised(torch.nn.Module):
    """Weight norm by parametrisation and by the older hook."""

    def __init__(self):
        super().__init__()
        self.normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 64))
        self.hooked = torch.nn.utils.weight_norm(torch.nn.Linear(64, 64))
        with torch.no_grad():  # as after training: until then the norm of a weight is its own
            self.normed.parametrizations.weight.original0 *= 2
            self.hooked.weight_g /= 2

    def forward(self, x):
        return self.hooked(torch.tanh(self.normed(x)))


def plain(weight, bias):
    """A layer of these."""
    layer = torch.nn.Linear(*weight.shape[::-1])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def without_norm():
    """The direction is taken for the weight, its length is forgotten: a checkpoint that was read by name."""
    model = build(Parametrised)
    model.normed = plain(model.normed.parametrizations.weight.original1, model.normed.bias)
    return model


def without_hook():
    model = build(Parametrised)
    model.hooked = plain(model.hooked.weight_v, model.hooked.bias)
    return model


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@onnx_export(lambda: build(Parametrised), **X, **BOTH)
@parity()
def test_weight_norm(onnx_model):
    assert onnx_model.weights_bytes < 1.5 * (64 * 64 + 64 * 4) * 4  # not one copy per normalisation


class SpectrallyNormed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.normed = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(4, 8))

    def forward(self, x):
        return self.normed(x)


@onnx_export(lambda: build(SpectrallyNormed), **X, exporter="dynamo")
@parity()
def test_spectral_norm(onnx_model):
    assert onnx_model.operators["Gemm"] == 1


@pytest.mark.xfail(strict=True, raises=ExportFailed, reason="torch 2.13: TorchScript has no translation of aten::vdot")
def test_spectral_norm_in_torchscript(onnx_exporter):
    onnx_exporter(lambda: build(SpectrallyNormed), **X, exporter="torchscript")


def test_spectral_norm_in_train_mode(onnx_exporter):
    """It goes on with its power iteration at every call, and so the weights are others each time."""
    words = r"train mode: 'normed\.parametrizations\.weight\.0' \(_SpectralNorm\)"
    with pytest.raises(ParityError, match=words):
        assert_parity(onnx_exporter(lambda: build(SpectrallyNormed).train(), **X, exporter="dynamo"))
    with pytest.raises(ExportFailed, match=words):
        onnx_exporter(lambda: build(SpectrallyNormed).train(), **X, exporter="torchscript")


def build_orthogonal():
    torch.manual_seed(0)
    return torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(4, 4)).eval()


def build_orthogonal_worked_out():
    net = build_orthogonal()
    torch.nn.utils.parametrize.remove_parametrizations(net, "weight")  # which keeps the weight as it is now
    return net


@pytest.mark.xfail(
    strict=True, raises=ExportFailed, reason="torch 2.13: neither exporter has a translation of linalg_matrix_exp"
)
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_orthogonal_weights(onnx_exporter, exporter):
    onnx_exporter(build_orthogonal, **X, exporter=exporter)


@onnx_export(build_orthogonal, **X, **BOTH, options={"rewritten": build_orthogonal_worked_out})
@parity()
def test_orthogonal_weights_worked_out(onnx_model):
    assert onnx_model.operators["Gemm"] == 1


class Tied(torch.nn.Module):
    """A language model's: the table that words are looked up in gives their scores, too."""

    def __init__(self):
        super().__init__()
        self.embedding, self.body = torch.nn.Embedding(500, 32), torch.nn.Linear(32, 32)
        self.head = torch.nn.Linear(32, 500, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.body(self.embedding(ids))))


IDS = {"inputs": {"ids": TensorSpec("int64", "batch, seq", low=0, high=500)}, "dims": {"batch": (1, 3), "seq": (1, 5)}}
TABLE = 500 * 32 * 4


@onnx_export(lambda: build(Tied), **IDS, exporter="dynamo")
@parity()
def test_shared_weights(onnx_model):
    assert onnx_model.weights_bytes < 1.1 * TABLE


def untied():
    """The tie is lost, and the head keeps what it was initialised with."""
    model = build(Tied)
    model.head.weight = torch.nn.Parameter(torch.randn(500, 32))
    return model


def test_lost_tie_is_caught(onnx_exporter):
    model = onnx_exporter(lambda: build(Tied), **IDS, exporter="torchscript", opset=18, options={"rewritten": untied})
    with pytest.raises(ParityError, match="'output' differs"):
        assert_parity(model)


@onnx_export(lambda: build(Tied), **IDS, exporter="torchscript", options=[{}, {"do_constant_folding": False}])
@parity()
def test_shared_weights_in_torchscript(onnx_model):
    """Right, but twice as large: the table is kept transposed as well, unless constants are not to be worked out."""
    folded = "Transpose" not in onnx_model.operators
    assert round(onnx_model.weights_bytes / TABLE) == (2 if folded else 1)


# -- small constants ----------------------------------------------------------------------------------------------


class Unit(torch.nn.Module):
    """Divides by its length; the small constant is for zeros."""

    def forward(self, x):
        return x / torch.sqrt((x * x).sum(dim=1, keepdim=True) + 1e-8)


def test_small_constant_that_dynamo_drops(onnx_exporter):
    """The optimiser of torch's exporter takes additions of up to 1e-8 for additions of nothing; zeros show it."""
    model = onnx_exporter(Unit, **X, exporter="dynamo")
    with pytest.raises(ParityError, match="is NaN where the framework has 0"):
        assert_parity(model)


@onnx_export(Unit, **X, exporter="dynamo", options={"optimize": False})
@parity()
def test_small_constant_without_the_optimiser(onnx_model):
    assert onnx_model.operators["Add"] == 1


@onnx_export(Unit, **X, exporter="torchscript")
@parity()
def test_small_constant_in_torchscript(onnx_model):
    assert onnx_model.operators["Add"] == 1


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("other", [without_norm, without_hook])
def test_weights_that_are_not_what_the_layers_use(onnx_exporter, other):
    model = onnx_exporter(
        lambda: build(Parametrised), **X, exporter="torchscript", opset=18, options={"rewritten": other}
    )
    with pytest.raises(ParityError, match="'output' differs"):
        assert_parity(model)


# -- complex numbers ----------------------------------------------------------------------------------------------


class Spectrum(torch.nn.Module):
    """Complex inside, real outside."""

    def forward(self, x):
        return torch.fft.rfft(x).abs()


class SpectrumByMatrices(torch.nn.Module):
    """The same as real pairs."""

    def forward(self, x):
        steps = torch.arange(4, dtype=torch.float32)
        angles = 2 * torch.pi / 4 * torch.outer(steps, steps[:3])
        return torch.sqrt((x @ torch.cos(angles)) ** 2 + (x @ torch.sin(angles)) ** 2)


@onnx_export(Spectrum, **X, exporter="dynamo")
@parity()
def test_complex_inside(onnx_model):
    assert onnx_model.operators["DFT"] == 1


def test_complex_inside_in_torchscript(onnx_exporter):
    with pytest.raises(ExportFailed, match=r"(?s)aten::fft_rfft +layer Spectrum.*Three ways out"):
        onnx_exporter(Spectrum, **X, exporter="torchscript")


@onnx_export(Spectrum, **X, exporter="torchscript", options={"rewritten": SpectrumByMatrices})
@parity()
def test_complex_as_real_pairs(onnx_model):
    assert onnx_model.operators["MatMul"] == 2


class Square(torch.nn.Module):
    """Real pairs outside, complex numbers inside."""

    def forward(self, x):
        z = torch.view_as_complex(x)
        return torch.view_as_real(z * z)


PAIRS = {"inputs": {"x": "float32[batch, 4, 2]"}, "dims": {"batch": (1, 4)}}


@onnx_export(Square, **PAIRS, exporter="dynamo")
@parity()
def test_complex_ends_as_pairs(onnx_model):
    assert onnx_model.describe().outputs[0].dtype == "float32"


@pytest.mark.xfail(
    strict=True, raises=ExportFailed, reason="torch 2.13: TorchScript has no translation of aten::view_as_complex"
)
def test_complex_ends_as_pairs_in_torchscript(onnx_exporter):
    onnx_exporter(Square, **PAIRS, exporter="torchscript")
