"""A torch module in float64: its own rounding error is what it differs by."""

from __future__ import annotations

import copy
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.sources.base import Arrays, Feeds
from pytest_onnxprep.sources.torch_rounding import Rounding
from pytest_onnxprep.spec.signature import Signature

if TYPE_CHECKING:
    from pytest_onnxprep.sources.torch_module import TorchSource

#: Above this the copy is not made: it takes twice the memory of the model.
_LARGEST_BYTES = 2_000_000_000


class TorchDouble:
    """A float64 copy of a module.

    Args:
        source: of the copy.
        signature: names the outputs.
        precision: of the module itself.
    """

    def __init__(self, source: TorchSource, signature: Signature, precision: Any) -> None:
        self._source = source
        self._signature = signature
        self._precision = precision

    def __call__(self, feeds: Feeds) -> Arrays | None:
        """The outputs in float64; None where the module has none."""
        return self._run(feeds, None)

    def rounded(self, feeds: Feeds, seed: int) -> Arrays | None:
        """The outputs of an evaluation that rounds at random, see `torch_rounding`."""
        return self._run(feeds, Rounding(self._precision, seed, self._source.device()))

    def _run(self, feeds: Feeds, rounding: Rounding | None) -> Arrays | None:
        import torch

        from pytest_onnxprep.sources.torch_module import from_numpy, to_numpy

        device = self._source.device()
        inputs = {name: from_numpy(_wide(array), device) for name, array in feeds.items()}
        if rounding is not None:
            inputs = {name: rounding.round(tensor) for name, tensor in inputs.items()}
        try:
            with _unseen(), torch.no_grad(), eagerly(), _widened(rounding):
                named = self._source.named(self._source.call(inputs), self._signature)
        except Exception:  # no verdict: whatever cannot be said in float64 is not our finding
            return None
        return {name: to_numpy(tensor) for name, tensor in named}


def make_double(source: TorchSource, signature: Signature) -> TorchDouble | None:
    """A float64 copy of a module as ``feeds -> outputs``; None where there is none (quantised, huge).

    Every dtype the module asks for by name on its way (``x.float()``, ``torch.zeros(..., dtype=torch.float16)``) is
    widened too, so that no single-precision step is left in it.

    Args:
        source: of the module, which stays as it is.
        signature: names the outputs.
    """
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
    return TorchDouble(twin, signature, _precision(module))


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array


@contextmanager
def eagerly() -> Iterator[None]:
    """Compile nothing: torch.cond and its like compile themselves, and what fails to under a mode is never tried again.

    Where torch's compiler was never loaded there is nothing to compile.
    """
    import torch

    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


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


def _precision(module: Any) -> Any:
    """The float dtype of most of the weights; float32 where there are none."""
    import torch

    tensors = [*module.parameters(), *module.buffers()]
    kinds = [tensor.dtype for tensor in tensors if tensor.dtype in (torch.float16, torch.bfloat16, torch.float32)]
    return max(kinds, key=kinds.count, default=torch.float32)


def _widened(rounding: Rounding | None = None) -> Any:
    """A dispatch mode in which every float dtype is float64.

    Args:
        rounding: makes of every operation what the model's own precision might.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map_only

    narrow = {torch.float32, torch.float16, torch.bfloat16}

    class Widened(TorchDispatchMode):  # type: ignore[no-untyped-call]
        # torch.cond, while_loop and scan: without this torch refuses them under a mode, and cannot run them later.
        supports_higher_order_operators = True

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.ops.aten.view.dtype:
                raise TypeError("bits are reinterpreted")
            args, kwargs = tree_map_only(torch.dtype, _double, (args, kwargs or {}))
            out = function(*args, **kwargs) if rounding is None else rounding.call(function, args, kwargs)
            # A tensor that was single precision from the start (a constant in the code) is widened on its way out.
            return tree_map_only(torch.Tensor, lambda t: t.double() if t.dtype in narrow else t, out)

    def _double(dtype: Any) -> Any:
        return torch.float64 if dtype in narrow else dtype

    return Widened()  # type: ignore[no-untyped-call]
