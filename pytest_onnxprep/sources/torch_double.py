"""A torch module in float64: its own rounding error is what it differs by."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.sources.base import Arrays, Double, Feeds
from pytest_onnxprep.spec.signature import Signature

if TYPE_CHECKING:
    from pytest_onnxprep.sources.torch_module import TorchSource

#: Above this the copy is not made: it takes twice the memory of the model.
_LARGEST_BYTES = 2_000_000_000


def make_double(source: TorchSource, signature: Signature) -> Double | None:
    """A float64 copy of a module as ``feeds -> outputs``; None where there is none (quantised, huge).

    Every dtype the module asks for by name on its way (``x.float()``, ``torch.zeros(..., dtype=torch.float16)``) is
    widened too, so that no single-precision step is left in it.

    Args:
        source: of the module, which stays as it is.
        signature: names the outputs.
    """
    from pytest_onnxprep.sources.torch_module import from_numpy, to_numpy

    module = source.model
    tensors = [*module.parameters(), *module.buffers()]
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors) > _LARGEST_BYTES:
        return None
    try:
        twin = copy.copy(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of gradients that a copy of TorchScript looks for
            twin.model = copy.deepcopy(module).double()
    except Exception:
        return None
    device = source.device()

    def run(feeds: Feeds) -> Arrays | None:
        import torch

        inputs = {name: from_numpy(_wide(array), device) for name, array in feeds.items()}
        try:
            with _unseen(), torch.no_grad(), _widened():
                named = twin.named(twin.call(inputs), signature)
        except Exception:  # no verdict: whatever cannot be said in float64 is not our finding
            return None
        return {name: to_numpy(tensor) for name, tensor in named}

    return run


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array


@contextmanager
def _unseen() -> Iterator[None]:
    """Leave torch's, NumPy's and Python's random state, and the default dtype, as they were."""
    import torch

    states = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)
        torch.random.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _widened() -> Any:
    """A dispatch mode in which every float dtype is float64."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map_only

    narrow = {torch.float32, torch.float16, torch.bfloat16}

    class Widened(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.ops.aten.view.dtype:
                raise TypeError("bits are reinterpreted")
            args, kwargs = tree_map_only(torch.dtype, _double, (args, kwargs or {}))
            out = function(*args, **kwargs)
            # A tensor that was single precision from the start (a constant in the code) is widened on its way out.
            return tree_map_only(torch.Tensor, lambda t: t.double() if t.dtype in narrow else t, out)

    def _double(dtype: Any) -> Any:
        return torch.float64 if dtype in narrow else dtype

    return Widened()  # type: ignore[no-untyped-call]
