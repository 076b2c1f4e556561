"""What PyTorch modules do beside their layers: hooks, buffers, modes, parametrised and shared weights, complex numbers.

Broken forms must be caught, sound forms must pass.
"""

import pytest

from pytest_onnxprep import ExportFailed, ParityError, assert_parity, onnx_export, parity

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
    """Weight norm by parametrisation and by the older hook, and a weight that is used twice."""

    def __init__(self):
        super().__init__()
        self.normed = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 64))
        self.hooked = torch.nn.utils.weight_norm(torch.nn.Linear(64, 64))
        with torch.no_grad():  # as after training: until then the norm of a weight is its own
            self.normed.parametrizations.weight.original0 *= 2
            self.hooked.weight_g /= 2
        self.again = torch.nn.Linear(64, 64)
        self.again.weight = self.hooked.weight_v  # shared

    def forward(self, x):
        return self.again(torch.tanh(self.hooked(torch.tanh(self.normed(x)))))


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


def untied():
    """The tie is lost, and the second layer keeps what it was initialised with."""
    model = build(Parametrised)
    model.again = torch.nn.Linear(64, 64)
    return model


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@onnx_export(lambda: build(Parametrised), **X, **BOTH)
@parity()
def test_weight_norm_and_shared_weights(onnx_model):
    assert onnx_model.weights_bytes < 3 * 64 * 64 * 4  # not one copy per use and normalisation


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("other", [without_norm, without_hook, untied])
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
