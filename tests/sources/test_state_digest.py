"""The digest of plain state: equal for equal values, different for different ones, never a matter of the process."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import logging
import os
import re
import subprocess
import sys
import threading
import types
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_onnxprep.sources.state_digest import state_digest


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


@dataclasses.dataclass
class Config:
    width: int = 8
    layers: list[int] = dataclasses.field(default_factory=list)
    act: Any = None


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self, x: int) -> None:
        self.x = x


class Forgetful:
    """Leaves out of its pickle what its method computes with."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Words(set):
    pass


def scale(x: float, by: float = 2.0) -> float:
    """A function to refer to."""
    return x * by


def values() -> dict[str, Any]:
    """Values that all differ from each other, made anew on every call."""
    shared: list[int] = []
    cycle: list[Any] = [1]
    cycle.append(cycle)
    return {
        "none": None,
        "true": True,
        "one": 1,
        "minus one": -1,
        "float one": 1.0,
        "minus zero": -0.0,
        "zero": 0.0,
        "nan": float("nan"),
        "big": 10**5000,
        "complex": 1j,
        "text": "1",
        "surrogate": "\ud800",
        "bytes": b"1",
        "ellipsis": ...,
        "empty list": [],
        "empty tuple": (),
        "empty dict": {},
        "empty set": set(),
        "nested": [[], [1, (2, 3)]],
        "nested otherwise": [[1], [(2, 3)]],
        "dict": {"a": 1, "b": 2},
        "dict in another order": {"b": 2, "a": 1},
        "set": {"a", "b", "c", ("d", 1)},
        "frozen": frozenset({"a", "b", "c", ("d", 1)}),
        "words": Words({"a", "b", "c"}),
        "twice the same": [shared, shared],
        "two equal": [[], []],
        "cycle": cycle,
        "red": Colour.RED,
        "blue": Colour.BLUE,
        "config": Config(),
        "wide config": Config(width=16),
        "config with function": Config(act=scale),
        "config with lambda": Config(act=lambda x: x + 1),
        "config with other lambda": Config(act=lambda x: x + 2),
        "slotted": Slotted(1),
        "slotted two": Slotted(2),
        "forgetful": Forgetful(1.0),
        "forgetful two": Forgetful(2.0),
        "path": Path("/a/b"),
        "pattern": re.compile("a+"),
        "logger": logging.getLogger("some.name"),
        "lock": threading.Lock(),
        "weak": weakref.ref(Config),
        "partial": functools.partial(scale, by=3.0),
        "method": Config().layers.append,
        "ordered": collections.OrderedDict(a=1),
        "default": collections.defaultdict(list, a=[1]),
        "counter": collections.Counter("hello"),
        "deque": collections.deque([1, 2], maxlen=3),
        "date": datetime.date(2020, 1, 1),
        "union": int | None,
        "module": types,
        "class": Config,
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "array transposed": np.arange(6, dtype=np.float32).reshape(3, 2),
        "array of integers": np.arange(6, dtype=np.int32).reshape(2, 3),
        "array of nothing": np.zeros((0, 3), np.float32),
        "array of no dims": np.array(1.0),
        "array of objects": np.array(["a", None, 1], dtype=object),
        "array of text": np.array(["a", "bc"]),
        "record array": np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]),
        "masked": np.ma.masked_array([1, 2], [0, 1]),
        "scalar": np.float32(1.0),
        "dtype": np.dtype("float32"),
        "generator": np.random.default_rng(0),
    }


def test_equal_values_are_equal_and_others_are_not():
    """Every value digests to itself when made again and to nothing else."""
    first = {name: state_digest(value) for name, value in values().items()}
    second = {name: state_digest(value) for name, value in values().items()}

    assert first == second
    assert [name for name, digest in first.items() if not digest.stable] == []
    assert len({digest.hexdigest for digest in first.values()}) == len(first)


def test_processes_agree_on_state():
    """Two processes with different hash seeds give every value the same digest."""
    script = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[2])]!r}\n"
        "import test_state_digest as t\n"
        "for name, value in t.values().items(): print(name, t.state_digest(value))"
    )

    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        for seed in ("1", "2")
    ]

    assert found[0] == found[1]
    assert len(found[0]) == len(values())


def test_order_of_attributes_means_nothing():
    """Attributes set in another order give the same object; keys of a dict do not."""
    first, second = types.SimpleNamespace(a=1, b=2), types.SimpleNamespace(b=2, a=1)

    assert state_digest(first) == state_digest(second)


def test_memory_layout_of_an_array_means_nothing():
    """An array counts by its elements, whatever their order in memory."""
    array = np.arange(6.0).reshape(2, 3)

    assert state_digest(array) == state_digest(np.asfortranarray(array))
    assert state_digest(array) != state_digest(array + np.float64(2**-40))


def test_tensors_count_by_value():
    """A tensor counts by dtype, shape and elements, in dtypes numpy lacks as well."""
    torch = pytest.importorskip("torch")

    def digest(fill: float, dtype: Any) -> str:
        return state_digest({"t": torch.full((2, 2), fill, dtype=dtype)}).hexdigest

    for dtype in (torch.float32, torch.bfloat16, torch.bool, torch.complex64):
        assert digest(1, dtype) == digest(1, dtype)
        assert digest(1, dtype) != digest(0, dtype)
    assert state_digest(torch.eye(2).to_sparse()).stable
    assert state_digest(torch.nn.Linear(2, 2)).hexdigest != state_digest(torch.nn.Linear(2, 2)).hexdigest


@pytest.mark.parametrize(
    "value",
    [(i for i in ()), sys.__stdout__, memoryview(b"x"), "<function f at 0x7f00deadbeef>"],
    ids=["generator", "file", "memoryview", "address"],
)
def test_no_description_no_stable_digest(value):
    """What has no description, or seems to hold an address, is unstable but still the same within the process."""
    found = state_digest([value])

    assert not found.stable
    assert found == state_digest([value])


def test_undescribed_objects_differ_from_each_other():
    """Two open files are told apart within a process."""
    with open(os.devnull) as first, open(os.devnull) as second:
        assert state_digest(first) != state_digest(second)


def test_too_deep_or_too_large_is_unstable():
    """A value too deep to walk never raises and never equals anything, itself included."""
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]

    first, second = state_digest(deep), state_digest(deep)

    assert not first.stable
    assert first != second
