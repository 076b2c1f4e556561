"""What PyTorch computes on the way: every ATen operator's result, with the module and the line it came from."""

from __future__ import annotations

import sys
import time
import warnings
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.sources.torch_double import eagerly
from pytest_onnxprep.sources.trace import Limits, Trace, Traced, digest, first_user_frame

if TYPE_CHECKING:
    from pytest_onnxprep.sources.torch_module import TorchSource

#: Operators whose steps an ONNX file may hold one by one: their decompositions are run and recorded too.
_OPENED = frozenset(
    {
        "addmm",
        "baddbmm",
        "addbmm",
        "native_layer_norm",
        "native_group_norm",
        "native_batch_norm",
        "_native_batch_norm_legit_no_training",
        "gelu",
        "_softmax",
        "_log_softmax",
        "silu",
        "mish",
        "hardswish",
        "hardsigmoid",
        "softplus",
        "elu",
        "std",
        "var",
        "addcmul",
        "addcdiv",
        "lerp",
        "cosine_similarity",
    }
)
_OPENED_ELEMENTS = 4_000_000


def trace(source: TorchSource, feeds: Any, signature: Any, limits: Limits) -> Trace:
    """Run the module once and record it. The caller keeps and restores the model's state.

    Args:
        source: the module.
        feeds: its inputs.
        signature: names the outputs.
        limits: when recording ends.
    """
    import torch

    from pytest_onnxprep.sources.torch_module import from_numpy

    recorder = _recorder(limits)
    tensors = [*source.model.named_parameters(), *source.model.named_buffers()]
    for name, tensor in tensors:
        recorder.add(tensor, Traced(_digest(tensor), "weight", name, *_owner(source.model, name)))
    device = source.device()
    inputs = {name: from_numpy(np.asarray(array), device) for name, array in feeds.items()}
    for name, tensor in inputs.items():
        recorder.add(tensor, Traced(_digest(tensor), "input", name))
    why = ""
    quiet = warnings.catch_warnings()
    with quiet, torch.no_grad(), _plain_kernels(), eagerly(), recorder.layers(source.model), recorder:
        warnings.simplefilter("ignore")
        try:
            outputs = source.call(inputs)
        except Exception as error:  # what was recorded up to here is still worth having
            why = f"the framework stopped with {type(error).__name__}"
            outputs = None
    if outputs is not None:
        with suppress(Exception):
            for name, tensor in source.named(outputs, signature):
                recorder.add(tensor, Traced(_digest(tensor), "output", name), again=True)
    return Trace(tuple(recorder.values), not (why or recorder.why), why or recorder.why, recorder.whole)


def _digest(tensor: Any) -> Any:
    from pytest_onnxprep.sources.torch_module import to_numpy
    from pytest_onnxprep.sources.trace import Digest

    found = None
    with suppress(Exception):
        found = digest(to_numpy(tensor))
    return found or Digest((), np.zeros(0), 0.0, 0.0, 0.0, "O")


def _owner(model: Any, name: str) -> tuple[str, str]:
    layer = name.rpartition(".")[0]
    with suppress(AttributeError):
        return layer, type(model.get_submodule(layer)).__name__
    return layer, ""


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """Attention step by step: fused kernels hide the values between."""
    import torch

    with ExitStack() as stack:
        enabled = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, enabled)
        torch.backends.mha.set_fastpath_enabled(False)
        with suppress(ImportError, AttributeError):
            from torch.nn.attention import SDPBackend, sdpa_kernel

            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def _recorder(limits: Limits) -> Any:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from pytest_onnxprep.sources.torch_module import to_numpy

    torch_folder = str(Path(torch.__file__).parent)
    foreign = (torch_folder,)
    table = _decompositions()
    deadline = time.monotonic() + limits.max_s

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        """Records every operator's result; see `trace`."""

        # torch.cond, while_loop and scan: without this torch refuses them under a mode, and cannot run them later.
        supports_higher_order_operators = True

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.values: list[Traced] = []
            self.why = ""
            self.stack: list[tuple[str, str]] = []
            self.bytes = 0
            self.known: dict[int, tuple[Any, int]] = {}
            self.inside = 0
            self.whole: dict[int, np.ndarray] = {}

        def add(self, tensor: Any, value: Traced, again: bool = False) -> None:
            if value.digest.kind == "O":
                return
            if not again or id(tensor) not in self.known:
                self.known[id(tensor)] = (weakref.ref(tensor), len(self.values))
            if len(self.values) in limits.keep:
                self.whole[len(self.values)] = to_numpy(tensor).copy()
            self.bytes += value.digest.sample.nbytes
            self.values.append(value)

        def place(self, tensor: Any) -> int | None:
            found = self.known.get(id(tensor))
            return found[1] if found is not None and found[0]() is tensor else None

        @contextmanager
        def layers(self, model: Any) -> Iterator[None]:
            names = {id(module): name for name, module in model.named_modules()}

            def enter(module: Any, _: Any) -> None:
                self.stack.append((names.get(id(module), ""), type(module).__name__))

            def leave(*_: Any) -> None:
                if self.stack:
                    self.stack.pop()

            hooks = torch.nn.modules.module
            handles = [
                hooks.register_module_forward_pre_hook(enter),
                hooks.register_module_forward_hook(leave, always_call=True),
            ]
            try:
                yield
            finally:
                for handle in handles:
                    handle.remove()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if not self.full():
                with suppress(Exception):
                    self.open(func, args, kwargs)
            result = func(*args, **kwargs)
            if not self.full():
                with suppress(Exception):
                    self.record(func, args, kwargs, result)
            return result

        def full(self) -> bool:
            if not self.why and time.monotonic() > deadline:
                self.why = "the framework's trace ran out of time"
            if not self.why and self.bytes > limits.max_bytes:
                self.why = "the framework's trace ran out of memory"
            return bool(self.why)

        def open(self, func: Any, args: Any, kwargs: Any) -> None:
            """Record an operator's steps; its own result comes from the operator itself afterwards."""
            name = func._schema.name.partition("::")[2]
            step = table.get(func)
            if self.inside or step is None or name not in _OPENED:
                return
            if any(torch.is_tensor(arg) and arg.numel() > _OPENED_ELEMENTS for arg in args):
                return
            self.inside += 1
            try:
                with self:
                    step(*args, **kwargs)
            finally:
                self.inside -= 1

        def record(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
            leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(result) if torch.is_tensor(leaf)]
            if not leaves:
                return
            sources = [leaf for leaf in torch.utils._pytree.tree_leaves((args, kwargs)) if torch.is_tensor(leaf)]
            inputs = tuple(place for place in map(self.place, sources) if place is not None)
            layer, kind = self.stack[-1] if self.stack else ("", "")
            line = first_user_frame(_frames(), foreign)
            name = func._schema.name.partition("::")[2]
            for leaf in leaves:
                self.add(leaf, Traced(_digest(leaf), name, "", layer, kind, line, inputs, bool(self.inside)))

    return Recorder()


def _frames() -> Iterator[tuple[str, int]]:
    frame: Any = sys._getframe(2)
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def _decompositions() -> dict[Any, Any]:
    """Decompositions as torch itself has them; private to it, so its absence is no error."""
    with suppress(ImportError, AttributeError):
        from torch._decomp import decomposition_table

        return dict(decomposition_table)
    return {}
