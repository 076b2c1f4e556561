"""A model comes back as it was handed out: what a call of it changes goes back silently, what others do is told."""

from __future__ import annotations

import collections
import random
from typing import Any

import numpy as np
import pytest

from pytest_onnxprep.sources.checksum import checksum
from pytest_onnxprep.sources.custody import Contents, Custody, untouched
from pytest_onnxprep.sources.load import load_source

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class Settings:
    """An object of the user's."""

    def __init__(self) -> None:
        self.window = 3
        self.seen: list[Any] = ["a"]


class Net(nn.Module):
    """Everything a module can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout()
        self.history: list[Any] = []
        self.table: dict[str, Any] = {"a": [1]}
        self.settings = Settings()
        self.note = "as built"
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        return self.drop(self.norm(self.first(x)))


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Everything the tests compare."""
    return {
        "values": {name: tensor.detach().clone() for name, tensor in module.state_dict().items()},
        "ids": {name: id(tensor) for name, tensor in [*module.named_parameters(), *module.named_buffers()]},
        "wants": {name: tensor.requires_grad for name, tensor in module.named_parameters()},
        "modes": {name: child.training for name, child in module.named_modules()},
        "parts": {name: (id(child), type(child)) for name, child in module.named_modules()},
        "names": {name: sorted(vars(child)) for name, child in module.named_modules()},
        "hooks": {name: list(child._forward_hooks) for name, child in module.named_modules()},
    }


def assert_same(module: nn.Module, before: dict[str, Any]) -> None:
    """The module is as it was."""
    after = snapshot(module)
    for name, value in before.pop("values").items():
        torch.testing.assert_close(after["values"].pop(name), value, rtol=0, atol=0, equal_nan=True)
    after.pop("values")
    assert after == before


def change(module: Net) -> None:
    """What a call of a careless model does to itself."""
    module.eval()
    module.count += 1
    module.norm.running_mean.add_(5)
    module.count = torch.ones(())
    module.history.append(torch.ones(2))
    module.table["a"].append(2)
    module.table["b"] = None
    module.settings.window = 9
    module.settings.seen.clear()
    module.note = "traced"
    module.last = torch.ones(2)
    torch.rand(1), np.random.rand(), random.random()


def test_what_a_call_changes_goes_back_silently():
    """Flags one by one, buffers, attributes, containers in place and the generators: nothing to tell."""
    module = Net().train()
    module.norm.eval()
    module.first.weight.requires_grad_(False)
    source = load_source(module)
    before, history, drawn = snapshot(module), module.history, _drawn(peek=True)
    with untouched(source) as custody:
        change(module)

    assert custody == Custody()
    assert_same(module, before)
    assert module.history is history
    assert (module.history, module.table, module.note) == ([], {"a": [1]}, "as built")
    assert (module.settings.window, module.settings.seen) == (3, ["a"])
    assert _drawn() == drawn


def _replace_forward(module: Net) -> None:
    module.first.forward = lambda x: x


def _replace_class(module: Net) -> None:
    module.first.__class__ = nn.Identity


def _fuse(module: Net) -> None:
    module.norm = nn.Identity()


def _swap_parameter(module: Net) -> None:
    module.first.weight = nn.Parameter(torch.zeros(4, 3))


def _halve(module: Net) -> None:
    module.half()


def _freeze(module: Net) -> None:
    module.requires_grad_(False)


def _hook(module: Net) -> None:
    module.first.register_forward_hook(lambda *_: None)


def _gradients(_: Net) -> None:
    torch.set_grad_enabled(not torch.is_grad_enabled())


def _dtype(_: Net) -> None:
    torch.set_default_dtype(torch.float64)


@pytest.mark.parametrize(
    ("do", "told"),
    [
        (_replace_forward, "'first': forward replaced"),
        (_replace_class, "'first': class Linear made Identity"),
        (_fuse, "the model: 'norm' replaced or added"),
        (_swap_parameter, "'first': 'weight' replaced or added"),
        (_halve, "parameter 'first.weight': its tensor"),
        (_freeze, "parameter 'first.weight': requires_grad=True"),
        (_hook, "'first': forward hooks changed"),
        (_gradients, "torch's setting of gradients"),
        (_dtype, "torch's setting of the default dtype"),
    ],
)
def test_what_others_do_is_put_back_and_told(do, told):
    """No forward does this to its own module: it is undone all the same, and named."""
    module = Net().eval()
    before = snapshot(module)
    with untouched(load_source(module)) as custody:
        do(module)

    assert told in custody.restored
    assert custody.lost == []
    assert_same(module, before)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("through", ["data", "no_grad"])
def test_overwritten_weights_are_lost_and_named(through):
    """No copy of the weights is kept, so this cannot be undone; it is seen whichever way it was done."""
    module = Net().eval()
    with untouched(load_source(module)) as custody, torch.no_grad():
        (module.first.weight.data if through == "data" else module.first.weight).mul_(2)

    assert custody.lost == ["parameter 'first.weight': its values were overwritten"]


def test_everything_is_put_back_after_an_error():
    """An exporter that raises half-way leaves no less order than one that returns."""
    module = Net().train()
    before = snapshot(module)
    with pytest.raises(ZeroDivisionError), untouched(load_source(module)):
        _fail(module)

    assert_same(module, before)


def test_forward_patched_and_put_back_as_an_attribute_is_no_news():
    """Whoever takes a patch off again leaves the class' own method on the instance."""
    module = Net().eval()
    with untouched(load_source(module)) as custody:
        module.forward = module.forward

    assert custody == Custody()
    assert "forward" not in vars(module)


def test_tied_shared_and_odd_tensors_are_no_trouble():
    """Tied weights, NaN, empty, meta, sparse and lazy parameters come back untold."""
    module = nn.Module()
    module.one = nn.Linear(2, 2)
    module.two = nn.Linear(2, 2)
    module.two.weight = module.one.weight
    module.nan = nn.Parameter(torch.tensor([float("nan"), -0.0]))
    module.empty = nn.Parameter(torch.zeros(0, 3))
    module.scalar = nn.Parameter(torch.tensor(1.0))
    module.flipped = nn.Parameter(torch.ones(2, 3).t())
    module.meta = nn.Parameter(torch.zeros(2, device="meta"))
    module.sparse = nn.Parameter(torch.eye(3).to_sparse())
    module.narrow = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    module.lazy = nn.LazyLinear(2)
    from pytest_onnxprep.sources.torch_custody import belongings

    custody = Custody()
    for belonging in belongings(module):
        belonging.put_back(custody)

    assert custody == Custody()
    assert module.two.weight is module.one.weight


def test_contents_go_back_in_place():
    """Every kind of container, nested and circular, keeps its identity and its order."""
    circle: list[Any] = [1]
    circle.append(circle)
    kept = {
        "list": [1, [2]],
        "dict": {"a": 1, "b": {"c": 2}},
        "set": {1, 2},
        "deque": collections.deque([1, 2], maxlen=3),
        "ordered": collections.OrderedDict(a=1, b=2),
        "circle": circle,
    }
    contents = Contents()
    contents.add(kept.values())
    inner = kept["dict"]["b"]
    kept["list"][1].append(3)
    kept["dict"]["b"] = None
    inner["d"] = 4
    kept["set"].add(3)
    kept["deque"].extend([8, 9])
    kept["ordered"].move_to_end("a")
    circle.clear()
    contents.put_back(Custody())

    assert kept["list"] == [1, [2]]
    assert kept["dict"] == {"a": 1, "b": {"c": 2}}
    assert kept["dict"]["b"] is inner
    assert kept["set"] == {1, 2}
    assert list(kept["deque"]) == [1, 2]
    assert list(kept["ordered"]) == ["a", "b"]
    assert circle == [1, circle]


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 5000])
def test_checksum_sees_values_and_places(size):
    """One bit, and two values that changed places, in small arrays and in large ones."""
    array = np.arange(size, dtype=np.float32)
    before = checksum(array)

    assert checksum(array.copy()) == before
    for index in {0, size // 2, size - 1} if size else ():
        other = array.copy()
        other[index] = np.nextafter(other[index], np.inf, dtype=np.float32)
        assert checksum(other) != before
        other = array.copy()
        other[[index, index - 1]] = other[[index - 1, index]]
        assert checksum(other) != before or size == 1


def _fail(module: Net) -> None:
    change(module)
    1 / 0  # noqa: B018


def _drawn(*, peek: bool = False) -> tuple[float, ...]:
    """The next numbers of the three generators."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    drawn = float(torch.rand(1)), float(np.random.rand()), random.random()
    if peek:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
    return drawn
