"""The torch source: runs the user's module untouched, puts state back, and tells one model from another."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from pytest_onnxprep.errors import ReferenceRefused, SourceError  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.sources.torch_module import TorchSource  # noqa: E402
from pytest_onnxprep.spec.signature import Signature  # noqa: E402
from pytest_onnxprep.spec.tensor import TensorSpec  # noqa: E402


def signature(outputs=None, **inputs):
    """A signature of dims, all float32."""
    specs = {name: TensorSpec("float32", dims) for name, dims in inputs.items()}
    return Signature(specs, None if outputs is None else dict.fromkeys(outputs))


def seeded(build, **arguments):
    """A module with the same weights every time."""
    torch.manual_seed(0)
    return build(**arguments).eval()


def digest(module):
    """Its fingerprint, which is stable."""
    found = load_source(module).fingerprint()
    assert found.stable
    return found.hexdigest


class Sub(nn.Module):
    def forward(self, a, b=None, *, c=None):
        return a - 10 * (0 if b is None else b) - (0 if c is None else c)


def test_inputs_bind_by_name():
    """Every input is a parameter: the order of declaration does not matter, keyword-only ones included."""
    one = np.ones((1, 1), np.float32)
    outputs = TorchSource(Sub()).run({"c": 3 * one, "b": one, "a": 2 * one}, signature(c="n, 1", b="n, 1", a="n, 1"))

    assert outputs["output"].item() == 2 - 10 - 3


def test_inputs_bind_in_order():
    """One name is no parameter: all go in order."""
    one = np.ones((1, 1), np.float32)
    outputs = TorchSource(Sub()).run({"b": 2 * one, "x": one}, signature(b="n, 1", x="n, 1"))

    assert outputs["output"].item() == 2 - 10


def test_scripted_module_binds_by_name():
    """TorchScript hides its parameters from inspect."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(_Difference())
    one = np.ones((1, 1), np.float32)
    outputs = TorchSource(script).run({"b": one, "a": 3 * one}, signature(b="n, 1", a="n, 1"))

    assert outputs["output"].item() == 2
    assert TorchSource(script).label == "_Difference (torch.jit.ScriptModule)"


class _Difference(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a - b


class Many(nn.Module):
    def forward(self, x):
        return x, {"a": x + 1, "b": [x + 2, None]}


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (None, {"output_0": 0, "output_1.a": 1, "output_1.b.0": 2}),
        (["output_1.b.0"], {"output_1.b.0": 2}),
        (["output_1.a", "output_0"], {"output_1.a": 1, "output_0": 0}),
        (["p", "q", "r"], {"p": 0, "q": 1, "r": 2}),
    ],
)
def test_outputs_are_named(outputs, expected):
    """Natural names, a selection of them, or new names for all."""
    found = TorchSource(Many()).run({"x": np.zeros(1, np.float32)}, signature(outputs, x="n"))

    assert {name: array.item() for name, array in found.items()} == expected
    assert list(found) == list(expected)


def test_outputs_that_do_not_fit():
    """Neither the model's own names nor a name for each."""
    with pytest.raises(SourceError, match=r"returns 3 tensors .*'q' is not one of the model's own names"):
        TorchSource(Many()).run({"x": np.zeros(1, np.float32)}, signature(["output_0", "q"], x="n"))


def test_output_that_is_no_tensor():
    """What was returned, where, and what is accepted."""

    class Text(nn.Module):
        def forward(self, x):
            return {"a": x, "b": ("text",)}

    with pytest.raises(SourceError, match=r"returned str in output 'b\.0'; accepted: tensors, and lists"):
        TorchSource(Text()).run({"x": np.zeros(1, np.float32)}, signature(x="n"))


def test_refusal_of_the_model_is_told_apart():
    """A shape the model does not take is no broken test."""
    with pytest.raises(ReferenceRefused, match="RuntimeError: mat1 and mat2"):
        TorchSource(nn.Linear(3, 2)).run({"x": np.zeros((1, 4), np.float32)}, signature(x="n, 4"))


def test_feeds_and_gradients():
    """Inputs are copies, outputs are detached."""

    class InPlace(nn.Linear):
        def forward(self, x):
            return super().forward(x.add_(1))

    feeds = {"x": np.zeros((1, 3), np.float32)}
    outputs = TorchSource(InPlace(3, 2)).run(feeds, signature(x="n, 3"))

    assert feeds["x"].max() == 0
    assert outputs["output"].shape == (1, 2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int8", "uint8", "int64", "bool"])
def test_dtypes_go_through(dtype):
    """What goes in comes out."""
    import ml_dtypes

    array = np.ones((2,), ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    found = TorchSource(nn.Identity()).run({"x": array}, Signature({"x": TensorSpec(dtype, "n")}))["output"]

    assert found.dtype == array.dtype
    assert (found == array).all()


class State(nn.Module):
    """Buffers that numpy does not have, changed by every call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("small", torch.ones(2, dtype=torch.bfloat16))
        self.register_buffer("turn", torch.ones(2, dtype=torch.complex64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.small.mul_(2)
        self.turn.mul_(1j)
        self.count = self.count + 1
        return x * self.small.float()


def test_state_is_put_back():
    """Buffers of every dtype, replaced ones too."""
    module = State()
    source = TorchSource(module)
    state = source.state()
    for _ in range(2):
        source.run({"x": np.ones(2, np.float32)}, signature(x="n"))
    source.restore(state)

    assert (module.small.tolist(), module.turn.tolist(), module.count.item()) == ([1, 1], [1, 1], 0)


def test_mode_is_hinted_at():
    """Dropout and batch norm in train mode are named."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout())

    assert "dropout is active: '1' (Dropout)" in TorchSource(net).mode_hint()
    assert "uses batch statistics" in TorchSource(nn.BatchNorm1d(3)).mode_hint()
    for norm in (nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm):
        assert "spectral norm at every call" in TorchSource(norm(nn.Linear(3, 3))).mode_hint()
        assert TorchSource(norm(nn.Linear(3, 3)).eval()).mode_hint() == ""
    assert TorchSource(net.eval()).mode_hint() == ""


def test_lazy_module_is_not_built():
    """Its weights come with the first call."""
    source = TorchSource(nn.LazyLinear(2))
    assert not source.built()
    source.run({"x": np.ones((1, 3), np.float32)}, signature(x="n, 3"))

    assert source.built()


def conv(**arguments):
    """A convolution with the same weights every time."""
    return seeded(lambda: nn.Conv2d(3, 4, 3, **arguments))


def test_same_build_has_the_same_fingerprint():
    """Twice the same."""
    assert digest(conv()) == digest(conv())


@pytest.mark.parametrize("kwargs", [{}, {"with_kwargs": True}])
def test_hooks_are_not_told_by_their_number(kwargs):
    """Torch numbers hooks through the whole process, so a number says how many there were before."""

    def hooked():
        module = conv()
        module.register_forward_hook((lambda module, args, given, output: output) if kwargs else _hook, **kwargs)
        return module

    before = digest(hooked())
    conv().register_forward_hook(_hook)

    assert digest(hooked()) == before != digest(conv())


def test_a_hook_beside_one_with_keywords_counts():
    """Torch lists the second hook in another table as well; the first is told by its code all the same."""

    def hooked(first):
        module = conv()
        module.register_forward_hook(first)
        module.register_forward_hook(lambda module, args, given, output: output, with_kwargs=True)
        return module

    assert digest(hooked(_hook)) != digest(hooked(lambda _module, _inputs, output: output * 3))


def test_a_forward_call_leaves_the_fingerprint_alone():
    """The weight that the old ``weight_norm`` sets anew at every call wants a gradient or does not, as the call did."""
    with pytest.warns(FutureWarning):
        module = torch.nn.utils.weight_norm(torch.nn.Linear(4, 4))
    before = digest(module)
    with torch.no_grad():
        module(torch.ones(1, 4))

    assert digest(module) == before


def _hook(_module, _inputs, output):
    return output * 2


def _edit(name, value):
    def change(module):
        setattr(module, name, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.weight.data[0, 0, 0].add_(1),
        lambda module: module.register_buffer("extra", torch.zeros(1)),
        lambda module: module.register_forward_hook(_hook),
        lambda module: module.train(),
        lambda module: module.double(),
        _edit("stride", (2, 2)),
        _edit("note", "other"),
        _edit("forward", lambda x: x),
    ],
)
def test_change_of_the_model_changes_the_fingerprint(change):
    """A weight, a buffer, a hook, a flag, a dtype, an attribute, a replaced method."""
    module = conv()
    before = digest(module)
    change(module)

    assert digest(module) != before


def test_buffer_by_value():
    """Running statistics count."""
    module = nn.BatchNorm1d(3).eval()
    before = digest(module)
    module.running_mean += 1

    assert digest(module) != before


def test_code_changes_the_fingerprint():
    """Two classes of one name and state whose forward differs."""

    def make(source):
        namespace = {"nn": nn, "__name__": __name__}
        exec(f"class Net(nn.Module):\n    def forward(self, x):\n        return {source}", namespace)
        return namespace["Net"]().eval()

    assert load_source(make("x * 2")).fingerprint() != load_source(make("x * 3")).fingerprint()
    assert load_source(make("x * 2")).fingerprint() == load_source(make("x * 2")).fingerprint()


def test_closure_changes_the_fingerprint():
    """A value from outside the class."""

    def make(scale):
        class Net(nn.Module):
            def forward(self, x):
                return x * scale

        return Net().eval()

    assert digest(make(2)) == digest(make(2))
    assert digest(make(2)) != digest(make(3))


def test_script_module_has_a_stable_fingerprint():
    """Scripted twice it is the same; another weight or another attribute is not."""

    def make(slope, scale=0.0):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(slope)).eval()
        net[0].weight.data += scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.script(net)

    assert digest(make(0.1)) == digest(make(0.1))
    assert len({digest(make(0.1)), digest(make(0.2)), digest(make(0.1, 1.0))}) == 3


def test_script_inside_a_module_counts():
    """The part that is TorchScript is told apart as well."""

    class Outer(nn.Module):
        def __init__(self, slope):
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.inner = torch.jit.script(nn.LeakyReLU(slope))

        def forward(self, x):
            return self.inner(x)

    assert digest(Outer(0.1)) == digest(Outer(0.1))
    assert digest(Outer(0.1)) != digest(Outer(0.2))
    assert "its submodule 'inner' is a torch.jit.ScriptModule" in load_source(Outer(0.1)).unsuited()["dynamo"]


def test_fingerprint_is_quiet():
    """Under ``-W error`` nothing of ours becomes one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(nn.ReLU())
        warnings.simplefilter("error")
        load_source(script).fingerprint()
