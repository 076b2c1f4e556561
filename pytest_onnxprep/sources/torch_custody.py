"""A PyTorch module as it is handed to an exporter: flags, attributes, hooks, parts, weights, and torch's switches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_onnxprep.sources.checksum import checksum
from pytest_onnxprep.sources.custody import Belonging, Contents, Custody

if TYPE_CHECKING:
    import torch

#: The tables of a module that hold its tensors and parts.
_TABLES = ("_parameters", "_modules", "_buffers")


def belongings(module: torch.nn.Module) -> list[Belonging]:
    """Everything of a module that an exporter could change and that a buffer's value does not tell."""
    return [Switches(), Weights(module), Modules(module)]


class Switches:
    """What torch keeps for the whole process."""

    def __init__(self) -> None:
        import torch

        self._kept: list[tuple[str, Callable[[], Any], Callable[[Any], Any], Any]] = []
        for name, read, write in (
            ("gradients", torch.is_grad_enabled, torch.set_grad_enabled),
            ("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
            (
                "deterministic algorithms",
                torch.are_deterministic_algorithms_enabled,
                torch.use_deterministic_algorithms,
            ),
            (
                "the attention fast path",
                torch.backends.mha.get_fastpath_enabled,
                torch.backends.mha.set_fastpath_enabled,
            ),
        ):
            self._kept.append((name, read, write, read()))

    def put_back(self, custody: Custody) -> None:
        """See `Belonging`."""
        for name, read, write, before in self._kept:
            if read() != before:
                write(before)
                custody.restored.append(f"torch's setting of {name}")


class Weights:
    """Parameters: storage, checksum, and whether they want gradients."""

    def __init__(self, module: torch.nn.Module) -> None:
        import torch

        self._kept: list[tuple[str, Any, Any, bytes | None, bool]] = []
        for name, parameter in module.named_parameters():
            if not torch.nn.parameter.is_lazy(parameter):
                data = parameter.data
                self._kept.append((name, parameter, data, _checksum(data), parameter.requires_grad))

    def put_back(self, custody: Custody) -> None:
        """See `Belonging`. Other storage or another dtype is undone; elements overwritten in place are lost."""
        for name, parameter, data, before, wants_gradient in self._kept:
            if _elsewhere(parameter, data):
                parameter.data = data
                custody.restored.append(f"parameter {name!r}: its tensor")
            if parameter.requires_grad != wants_gradient:
                parameter.requires_grad_(wants_gradient)
                custody.restored.append(f"parameter {name!r}: requires_grad={wants_gradient}")
            if _checksum(data) != before:
                custody.lost.append(f"parameter {name!r}: its values were overwritten")


class Modules:
    """Class, flags, attributes, hooks and parts of every module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._kept = [_Module(name, child) for name, child in module.named_modules()]
        self._contents = Contents()
        for kept in self._kept:
            self._contents.add(value for key, value in kept.attributes.items() if key not in _TABLES)

    def put_back(self, custody: Custody) -> None:
        """See `Belonging`."""
        for kept in self._kept:
            kept.put_back(custody)
        self._contents.put_back(custody)


class _Module:
    """One module, without what its containers hold."""

    def __init__(self, name: str, module: torch.nn.Module) -> None:
        from pytest_onnxprep.sources.torch_module import is_script

        self.name, self.module, self.cls, self.training = name, module, type(module), module.training
        self.namespace: dict[str, Any] = {} if is_script(module) else vars(module)  # TorchScript's lives in C++
        self.attributes = dict(self.namespace)
        self.tables = [(name, self.attributes[name], dict(self.attributes[name])) for name in self._held(_TABLES)]
        self.hooks = [(name, value, tuple(value)) for name, value in self.attributes.items() if name.endswith("_hooks")]

    def _held(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if name in self.attributes]

    def put_back(self, custody: Custody) -> None:
        """The exporters switch train and eval flags one by one: those go back without a word."""
        where = f"{self.name!r}" if self.name else "the model"
        custody.restored += [f"{where}: {what}" for what in self._done_by_others()]
        if type(self.module) is not self.cls:
            self.module.__class__ = self.cls
        if self.namespace:
            for _, table, before in self.tables:
                table.clear()
                table.update(before)
            self.namespace.clear()
            self.namespace.update(self.attributes)
        if self.module.training != self.training:
            self.module.training = self.training

    def _forward_replaced(self) -> bool:
        """Whether the instance has another forward; who takes a patch off again leaves the class' own on it."""
        now, before = self.namespace.get("forward"), self.attributes.get("forward")
        return now is not before and (before is not None or getattr(now, "__func__", now) is not self.cls.forward)

    def _done_by_others(self) -> list[str]:
        """What a module's own forward does not do: replace its class, methods, weights and parts, or set hooks."""
        found = []
        if type(self.module) is not self.cls:
            found.append(f"class {self.cls.__name__} made {type(self.module).__name__}")
        if self._forward_replaced():
            found.append("forward replaced")
        for table, _, before in self.tables:
            now = self.namespace.get(table, {})
            changed = [name for name in {**before, **now} if now.get(name) is not before.get(name)]
            if changed and table != "_buffers":
                found.append(f"{', '.join(map(repr, changed[:4]))} replaced or added")
        for name, _, hooks in self.hooks:
            if tuple(self.namespace.get(name, ())) != hooks:
                found.append(f"{name.strip('_').replace('_', ' ')} changed")
        return found


def _elsewhere(parameter: Any, data: Any) -> bool:
    """Whether a parameter holds another tensor than it did."""
    now = parameter.data
    if now.dtype != data.dtype or now.shape != data.shape or now.layout != data.layout:
        return True
    try:
        return bool(now.stride() != data.stride() or now.data_ptr() != data.data_ptr())
    except RuntimeError:  # sparse and other tensors without a storage
        return False


def _checksum(data: Any) -> bytes | None:
    """A checksum of the elements; None for tensors that have none on the CPU, or no plain ones."""
    import torch

    try:
        if data.is_meta or data.device.type != "cpu":
            return None
        return checksum(data.contiguous().reshape(-1).view(torch.uint8).numpy())
    except Exception:  # sparse, quantised
        return None
