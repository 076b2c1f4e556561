"""PyTorch: an ``nn.Module`` run eagerly under ``no_grad``."""

from __future__ import annotations

import hashlib
import inspect
import pickletools
import re
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources import torch_failure
from pytest_onnxprep.sources.base import Arrays, Double, Feeds, Source, flatten_outputs, name_outputs
from pytest_onnxprep.sources.checksum import checksum
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.nesting import nested, roots
from pytest_onnxprep.sources.source_code import Digest, code_digest
from pytest_onnxprep.sources.state_digest import state_digest
from pytest_onnxprep.sources.trace import DEFAULT, Limits, Trace
from pytest_onnxprep.spec.signature import Signature

if TYPE_CHECKING:
    import torch

    from pytest_onnxprep.sources.custody import Belonging

#: What nn.Module itself keeps in an instance's ``__dict__``; the rest is the user's configuration.
_MODULE_INTERNALS = frozenset({"_parameters", "_buffers", "_modules"})
#: Bytes of a weight from which on its digest is kept beside a checksum: the digest is what takes the time.
_LARGE = 1 << 16


class TorchSource(Source):
    """An eager ``torch.nn.Module`` on the CPU (or wherever its parameters live)."""

    framework = "torch"

    def __init__(self, module: torch.nn.Module) -> None:
        self.model = module
        script = is_script(module)
        name = getattr(module, "original_name", "") if script else ""
        self.label = f"{name or type(module).__name__} (torch.{'jit.ScriptModule' if script else 'nn.Module'})"
        self._by_keyword: dict[tuple[str, ...], bool] = {}
        self._anchor: torch.nn.Parameter | None = None

    def takes(self) -> str:
        """See `Source.takes`: the parameters of ``forward``."""
        schema = getattr(self.model.forward, "schema", None)
        if schema is not None:
            return f"forward({', '.join(f'{a.name}: {a.type.annotation_str}' for a in schema.arguments[1:])})"
        try:
            return f"forward{inspect.signature(self.model.forward)}"
        except (TypeError, ValueError):
            return ""

    def unsuited(self) -> dict[str, str]:
        """torch.export takes no module with a part that is TorchScript; what is all TorchScript is converted first."""
        for name, module in self.model.named_modules():
            if is_script(module):
                what = f"its submodule {name!r}" if name else "it"
                why = f"{what} is a torch.jit.ScriptModule, which torch.export cannot read; use exporter='torchscript'"
                return {"dynamo": why, "transformers": why} if name else {"transformers": why}
        return {}

    def last_resorts(self) -> dict[str, str]:
        """TorchScript reaches torch.export through torch's own converter, which knows few of its loops and types."""
        return {"dynamo": "through TS2EPConverter"} if is_script(self.model) else {}

    def built(self) -> bool:
        """Whether no lazy layer waits for its first input."""
        import torch

        tensors = [*self.model.parameters(), *self.model.buffers()]
        return not any(torch.nn.parameter.is_lazy(tensor) for tensor in tensors)

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`. Inputs are copied: a module that writes to its input must not change the feeds."""
        import torch

        device = self.device()
        try:
            with torch.no_grad():
                outputs = self.call({name: from_numpy(array, device) for name, array in feeds.items()})
        except SourceError:
            raise
        except Exception as error:
            raise ReferenceRefused(_reason(error)) from error
        named = self.named(outputs, signature)
        for name, tensor in named:
            if tensor.is_complex():
                raise SourceError(f"output {name!r} is complex, and ONNX has no complex outputs: return its real view")
        return {name: to_numpy(tensor) for name, tensor in named}

    def call(self, tensors: Mapping[str, Any]) -> Any:
        """Call the module: by keyword where every input is named after a parameter of ``forward``, else in order."""
        names = tuple(tensors)
        by_keyword = self._by_keyword.get(names)
        if by_keyword is None:
            by_keyword = self._by_keyword[names] = self._takes_keywords(names)
        arguments = self._with_numbers(nested(tensors)) if by_keyword else nested(tensors)
        if by_keyword:
            return self.model(**arguments)
        return self.model(*arguments.values())

    def positional(self, tensors: Mapping[str, Any]) -> list[Any]:
        """The arguments of a call in the order of ``forward``, for those who cannot call by keyword."""
        arguments = nested(tensors)
        schema = getattr(self.model.forward, "schema", None)
        order = [argument.name for argument in schema.arguments] if schema is not None else []
        if set(arguments) <= set(order):
            return [arguments[name] for name in order if name in arguments]
        return list(arguments.values())

    def in_double(self, signature: Signature) -> Double | None:
        """See `Source.in_double`."""
        from pytest_onnxprep.sources import torch_double

        return torch_double.make_double(self, signature)

    def named(self, outputs: Any, signature: Signature) -> list[tuple[str, Any]]:
        """Flatten and name what the module returned; also used inside the exported graph."""
        return name_outputs(flatten_outputs(outputs, is_tensor, self.expand), signature, self.label)

    def expand(self, value: Any) -> Iterator[tuple[str, Any]] | None:  # noqa: ARG002 - for those who override it
        """Hook for containers of a library built on torch."""
        return None

    def device(self) -> Any:
        """The device of the first parameter, else the CPU."""
        import torch

        if self._anchor is None:  # looked up once: walking the modules costs a small model 5 % of its time
            self._anchor = next(iter(self.model.parameters()), None)
        return torch.device("cpu") if self._anchor is None else self._anchor.device

    def fingerprint(self) -> Digest:
        """Weights and buffers by value, every module's plain attributes, and the code of all classes involved."""
        digest = hashlib.blake2b(digest_size=20)
        stable = True
        tensors = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        for name, tensor in tensors.items():
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
            digest.update(self._digest(name, _raw_bytes(tensor)))
        classes = dict.fromkeys(type(module) for module in self.model.modules())
        inside: tuple[str, ...] = ()
        for name, module in self.model.named_modules():
            if inside and name.startswith(inside):
                continue
            if is_script(module):
                digest.update(f"{name}:{_script_digest(module)}".encode())
                inside += (f"{name}." if name else "",)
                continue
            part = state_digest(_plain(module))
            stable = stable and part.stable
            digest.update(f"{name}:{type(module).__qualname__}:{part.hexdigest}".encode())
        code = code_digest(list(classes))
        digest.update(code.hexdigest.encode())
        return Digest(digest.hexdigest(), stable and code.stable)

    def _digest(self, name: str, data: bytes | memoryview) -> bytes:
        """The digest of a weight's bytes; of a large one that is still what it was, the one made before."""
        if len(data) < _LARGE:
            return hashlib.blake2b(data, digest_size=20).digest()
        seen = checksum(np.frombuffer(data, np.uint8))
        known = self.memo.setdefault("digests", {})
        if known.get(name, ("", b""))[0] != (seen, len(data)):
            known[name] = ((seen, len(data)), hashlib.blake2b(data, digest_size=20).digest())
        digest: bytes = known[name][1]
        return digest

    def trace(self, feeds: Feeds, signature: Signature, limits: Limits = DEFAULT) -> Trace:
        """See `Source.trace`."""
        from pytest_onnxprep.sources import torch_trace

        return torch_trace.trace(self, feeds, signature, limits)

    def state(self) -> dict[str, np.ndarray]:
        """Copies of the buffers: running statistics, caches, counters."""
        return {name: to_numpy(buffer).copy() for name, buffer in self.model.named_buffers()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Write buffers back in place."""
        import torch

        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                if name in state:
                    buffer.copy_(from_numpy(state[name], buffer.device))

    def held_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        """See `Source.held_weights`."""
        for name, tensor in (*self.model.named_parameters(), *self.model.named_buffers()):
            data = tensor.detach()
            if data.device.type == "cpu" and data.is_contiguous():
                with suppress(TypeError, RuntimeError):  # bfloat16, quantised, sparse
                    yield name, data.numpy()

    def belongings(self) -> list[Belonging]:
        """Flags, attributes, hooks, parts and weights of every module, and torch's own switches."""
        from pytest_onnxprep.sources.torch_custody import belongings

        return belongings(self.model)

    @contextmanager
    def limited_to(self, threads: int) -> Iterator[bool]:
        """See `Source.limited_to`."""
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield True
        finally:
            torch.set_num_threads(before)

    def mode_hint(self) -> str:
        """Name the first layer that behaves differently in train mode."""
        for name, module in self.model.named_modules():
            kind = type(module).__name__
            if not module.training:
                continue
            where = f"{name or kind!r} ({kind})"
            if "Dropout" in kind:
                return f"dropout is active: {where} is in train mode; call model.eval() in the factory"
            if "BatchNorm" in kind or "InstanceNorm" in kind:
                return f"train mode: {where} uses batch statistics; call model.eval() in the factory"
            hooks = {type(hook).__name__ for hook in module._forward_pre_hooks.values()}
            if kind == "_SpectralNorm" or "SpectralNorm" in hooks:
                return f"train mode: {where} improves its spectral norm at every call; call model.eval() in the factory"
        return ""

    def _with_numbers(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """TorchScript takes numbers where its declaration says ``int``, and no tensors of one."""
        schema = getattr(self.model.forward, "schema", None)
        kinds = {} if schema is None else {argument.name: str(argument.type) for argument in schema.arguments}
        return {
            name: value.item() if kinds.get(name) in ("int", "float", "bool") and is_tensor(value) else value
            for name, value in arguments.items()
        }

    def _takes_keywords(self, names: tuple[str, ...]) -> bool:
        schema = getattr(self.model.forward, "schema", None)  # TorchScript's forward hides its names from inspect
        if schema is not None:
            return {argument.name for argument in schema.arguments}.issuperset(roots(names))
        try:
            parameters = inspect.signature(self.model.forward).parameters
        except (TypeError, ValueError):
            return False
        usable = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return all(name in parameters and parameters[name].kind in usable for name in roots(names))


def is_tensor(value: Any) -> bool:
    """Whether ``value`` is a torch tensor."""
    import torch

    return isinstance(value, torch.Tensor)


def from_numpy(array: np.ndarray, device: Any) -> torch.Tensor:
    """A tensor with a copy of an array's elements."""
    import torch

    if array.dtype.kind == "V":  # ml_dtypes' bfloat16
        return torch.tensor(array.astype(np.float32), device=device).to(torch.bfloat16)
    return torch.tensor(array, device=device)


def is_script(module: Any) -> bool:
    """Whether a module was scripted, traced or loaded with ``torch.jit``."""
    import torch

    return isinstance(module, torch.jit.ScriptModule)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A numpy view of a tensor (a copy for bfloat16, which numpy holds as ``ml_dtypes.bfloat16``)."""
    import torch

    if tensor.dtype == torch.bfloat16:
        import ml_dtypes

        array: np.ndarray = tensor.float().numpy(force=True).astype(ml_dtypes.bfloat16)
        return array
    return np.asarray(tensor.numpy(force=True))


def _plain(module: torch.nn.Module) -> dict[str, Any]:
    """What a module keeps besides tensors and parts; of torch's eleven tables of hooks the filled ones.

    Hooks are numbered on and on through the process; theirs are the places they have among the module's own. A hook has
    one number in every table that knows it.
    """
    kept = {name: value for name, value in vars(module).items() if name not in _MODULE_INTERNALS}
    tables = {name: kept.pop(name) for name in list(kept) if "_hooks" in name and type(kept[name]) is OrderedDict}
    numbers = dict.fromkeys(number for table in tables.values() for number in table)
    places = {number: place for place, number in enumerate(numbers)}
    filled = {name: table for name, table in tables.items() if table}
    return kept | {name: {places[number]: hook for number, hook in table.items()} for name, table in filled.items()}


def _raw_bytes(tensor: torch.Tensor) -> bytes | memoryview:
    import torch

    if tensor.is_meta:
        return b"meta"
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else b""


def _script_digest(module: torch.jit.ScriptModule) -> str:
    """Code, weights and attributes of a ScriptModule, as its own archive holds them (without the debug records)."""
    import torch

    digest = hashlib.blake2b(digest_size=20)
    with tempfile.TemporaryDirectory(prefix="onnxprep-") as folder:  # in memory the weights would be held three times
        archive = f"{folder}/module.pt"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch.jit is deprecated is between the user and torch
            torch.jit.save(module, archive)
        with zipfile.ZipFile(archive) as entries:
            for name in sorted(entries.namelist()):
                if name.endswith((".debug_pkl", "serialization_id")):
                    continue
                content = entries.read(name)
                if name.endswith(".pkl"):  # a text's length stands before it
                    content = "\n".join(f"{op.name} {arg}" for op, arg, _ in pickletools.genops(content)).encode()
                if name.endswith((".py", ".pkl")):  # scripting a class a second time gives it a numbered name
                    content = re.sub(rb"___torch_mangle_\d+\.", b"", content)
                plain = re.sub(r"___torch_mangle_\d+\.?", "", name).partition("/")[2]  # the first part is the file's
                digest.update(plain.encode())
                digest.update(content)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """What went wrong, in a line; TorchScript's interpreter says it after both of its tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if type(error).__module__ == "torch.jit" and len(lines) > 1:
        return lines[-1].removeprefix("builtins.")[:300]
    if lines and "TorchScript interpreter" in lines[0]:  # errors of its operators come as RuntimeError
        return torch_failure.reason(str(error))
    return f"{type(error).__name__}: {one_line(error)}"
