"""A JAX model as it is handed to an exporter: JAX's switches, and the variables and flags of an nnx module."""

from __future__ import annotations

from typing import Any

from pytest_onnxprep.sources import jax_weights
from pytest_onnxprep.sources.custody import Custody
from pytest_onnxprep.sources.recognise import is_class

#: Global switches that decide what a function computes. jax2onnx sets the first, and leaves it on in a context of ours.
_SWITCHES = ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion", "jax_disable_jit")


class Switches:
    """JAX's global configuration."""

    def __init__(self) -> None:
        self._kept = {name: _read(name) for name in _SWITCHES}

    def put_back(self, custody: Custody) -> None:  # noqa: ARG002 - the process's, not the model's
        """See `Belonging`."""
        import jax

        for name, value in self._kept.items():
            if _read(name) != value:
                jax.config.update(name, value)


def _read(name: str) -> Any:
    """The global value, not that of a context manager this thread is in."""
    import jax

    return jax.config.values[name]


class Parts:
    """The variables of an nnx module, by the arrays they hold, which nobody can write to; and its attributes."""

    def __init__(self, module: Any) -> None:
        self._variables = [(path, held, held.get_value()) for path, held in jax_weights.nnx_variables(module)]
        self._parts = [(path, part, jax_weights.nnx_attributes(part)) for path, part in jax_weights.nnx_modules(module)]

    def put_back(self, custody: Custody) -> None:
        """See `Belonging`."""
        for path, variable, value in self._variables:
            if variable.get_value() is not value:
                if is_class(variable, "param"):
                    custody.restored.append(f"{path!r}: its values were replaced")
                variable.set_value(value)
        for path, part, before in self._parts:
            now = jax_weights.nnx_attributes(part)
            for name in {**before, **now}:
                if now.get(name) is before.get(name) and (name in now) == (name in before):
                    continue
                custody.restored.append(f"{path or type(part).__name__!r}: {name} changed")
                if name in before:
                    vars(part)[name] = before[name]
                else:
                    del vars(part)[name]
