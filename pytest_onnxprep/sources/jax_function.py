"""JAX: a function, a Flax nnx or linen module, or an Equinox module, called as the user left it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, SourceError
from pytest_onnxprep.sources import jax_weights
from pytest_onnxprep.sources.base import Arrays, Double, Feeds, Source, flatten_outputs, name_outputs
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.sources.nesting import nested
from pytest_onnxprep.sources.recognise import is_class
from pytest_onnxprep.sources.source_code import Digest, code_digest
from pytest_onnxprep.sources.state_digest import state_digest
from pytest_onnxprep.sources.trace import DEFAULT, Limits, Trace
from pytest_onnxprep.spec.signature import Signature

if TYPE_CHECKING:
    from pytest_onnxprep.sources.custody import Belonging

#: Inputs that JAX narrows without a word, unless x64 is on.
WIDE = frozenset({"float64", "int64", "uint64"})
_IN_ORDER = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def load(value: Any) -> Source:
    """Make a source of a function, of a module, or of a linen module with its variables."""
    import jax  # noqa: F401 - a missing JAX is told here, with what to install

    if isinstance(value, tuple):
        return LinenSource(*value)
    if is_class(value, "linen"):
        if value.scope is None:
            raise SourceError(
                f"{type(value).__name__} is a Flax linen module without its variables, so it has no weights; return "
                "the pair (module, variables), or module.bind(variables)"
            )
        return LinenSource(*value.unbind())
    if is_class(value, "nnx"):
        return NnxSource(value)
    return EquinoxSource(value) if is_class(value, "equinox") else JaxSource(value)


class JaxSource(Source):
    """A function of arrays, jitted or plain."""

    framework = "jax"
    compiles_each_size = True
    kind = "JAX function"

    def __init__(self, model: Any) -> None:
        self.model = model
        self.function = self._function()
        self.label = f"{self._name()} ({self.kind})"

    def run(self, feeds: Feeds, signature: Signature) -> Arrays:
        """See `Source.run`. 64-bit inputs turn x64 on for the call, as JAX needs it to take them as they are."""
        import jax

        with precision(signature), on_cpu():
            try:
                outputs = self.call({name: to_jax(name, array) for name, array in feeds.items()})
                outputs = jax.block_until_ready(outputs)
            except SourceError:
                raise
            except Exception as error:
                raise ReferenceRefused(f"{type(error).__name__}: {one_line(error)}") from error
            return {name: to_numpy(name, value) for name, value in self.named(outputs, signature)}

    def call(self, arrays: Mapping[str, Any]) -> Any:
        """Call in the order of the parameters where the inputs are named after them, else in their own order."""
        given, keywords = self.arguments(arrays)
        return self.function(*given, **keywords)

    def arguments(self, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """What is passed in order, and what by keyword; ``state.0`` and ``state.1`` are parts of a tuple."""
        values = nested(values)
        ordered, named = self._parameters
        first = ordered[: len(values)]
        if set(values) == set(first):  # in order: jax.vmap maps what it gets by keyword over the first axis
            return [values[name] for name in first], {}
        if set(values) <= {*ordered, *named}:
            return [], dict(values)
        return list(values.values()), {}

    def named(self, outputs: Any, signature: Signature) -> list[tuple[str, Any]]:
        """Flatten and name what the function returned; also used while it is traced."""
        return name_outputs(flatten_outputs(outputs, is_array), signature, self.label)

    def in_double(self, signature: Signature) -> Double | None:
        """See `Source.in_double`."""
        from pytest_onnxprep.sources import jax_double

        return jax_double.make_double(self, signature)

    def trace(self, feeds: Feeds, signature: Signature, limits: Limits = DEFAULT) -> Trace:
        """See `Source.trace`."""
        from pytest_onnxprep.sources import jax_trace

        return jax_trace.trace(self, feeds, signature, limits)

    def fingerprint(self) -> Digest:
        """The code with everything it closes over, arrays by value."""
        return code_digest([self.model])

    def weights(self) -> dict[str, Any]:
        """Path -> array, of everything the model computes with."""
        return dict(jax_weights.of_function(self.model))

    def belongings(self) -> list[Belonging]:
        """JAX's own switches, which an exporter sets while it traces."""
        from pytest_onnxprep.sources.jax_custody import Switches

        return [Switches()]

    def _function(self) -> Any:
        return self.model

    def _name(self) -> str:
        inner = inspect.unwrap(getattr(self.model, "func", self.model))
        return str(getattr(inner, "__name__", type(inner).__name__))

    def _signature_of(self) -> Any:
        return self.function

    @functools.cached_property
    def _parameters(self) -> tuple[list[str], list[str]]:
        """The names that can be given in order, and those that only go by keyword."""
        try:
            parameters = inspect.signature(self._signature_of()).parameters.values()
        except (TypeError, ValueError):
            return [], []
        ordered = [parameter.name for parameter in parameters if parameter.kind in _IN_ORDER]
        return ordered, [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


class LinenSource(JaxSource):
    """A Flax linen module with its variables."""

    kind = "flax.linen.Module"

    def __init__(self, module: Any, variables: Any) -> None:
        self.module, self.variables = module, variables
        super().__init__((module, variables))

    def fingerprint(self) -> Digest:
        """Variables by value, the module's fields, and the code of its class."""
        fields = jax_weights.linen_fields(self.module)
        return _digest(self.weights(), [fields], jax_weights.linen_classes(self.module))

    def weights(self) -> dict[str, Any]:
        """See `JaxSource.weights`."""
        return dict(jax_weights.of_tree(self.variables))

    def _function(self) -> Any:
        return functools.partial(self.module.apply, self.variables)

    def _name(self) -> str:
        return type(self.module).__name__

    def _signature_of(self) -> Any:
        return type(self.module).__call__.__get__(self.module)


class EquinoxSource(JaxSource):
    """An Equinox module: a callable tree of arrays."""

    kind = "equinox.Module"

    def _function(self) -> Any:
        if not callable(self.model):
            raise SourceError(
                f"{type(self.model).__name__} is an equinox.Module without __call__; return the method to export as a "
                "function: lambda x: model.method(x)"
            )
        return self.model

    def _name(self) -> str:
        return type(inspect.unwrap(self.model)).__name__

    def weights(self) -> dict[str, Any]:
        """See `JaxSource.weights`."""
        return dict(jax_weights.of_tree(self.model))

    def mode_hint(self) -> str:
        """Name the first dropout that is not in inference mode."""
        import jax

        parts = jax.tree_util.tree_leaves(self.model, is_leaf=lambda part: hasattr(part, "inference"))
        if any(getattr(part, "inference", True) is False for part in parts):
            return "dropout is active or statistics are updated: wrap the model in eqx.nn.inference_mode in the factory"
        return ""


class NnxSource(JaxSource):
    """A Flax nnx module, whose state lives in the module."""

    kind = "flax.nnx.Module"

    def _name(self) -> str:
        return type(self.model).__name__

    def fingerprint(self) -> Digest:
        """Variables by value, every part's own attributes, and the code of all classes involved."""
        parts = list(jax_weights.nnx_modules(self.model))
        attributes = [(path, jax_weights.nnx_attributes(part)) for path, part in parts]
        return _digest(self.weights(), attributes, list(dict.fromkeys(type(part) for _, part in parts)))

    def weights(self) -> dict[str, Any]:
        """See `JaxSource.weights`."""
        return {path: variable.get_value() for path, variable in jax_weights.nnx_variables(self.model)}

    def state(self) -> Mapping[str, np.ndarray]:
        """Copies of what a call may change: running statistics, caches, counters; never weights or keys."""
        return {
            path: np.array(variable.get_value())
            for path, variable in jax_weights.nnx_variables(self.model)
            if not is_class(variable, "param") and is_array(variable.get_value()) and not _is_key(variable.get_value())
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what was changed; what was not keeps its array."""
        import jax.numpy as jnp

        for path, variable in jax_weights.nnx_variables(self.model):
            if path in state and not np.array_equal(np.asarray(variable.get_value()), state[path], equal_nan=True):
                variable.set_value(jnp.array(state[path]))

    def belongings(self) -> list[Belonging]:
        """Variables, flags and attributes of every part, and JAX's own switches."""
        from pytest_onnxprep.sources.jax_custody import Parts

        return [*super().belongings(), Parts(self.model)]

    def mode_hint(self) -> str:
        """Name the first layer that behaves differently in train mode."""
        for path, part in jax_weights.nnx_modules(self.model):
            where = f"{path or type(part).__name__!r} ({type(part).__name__})"
            if getattr(part, "deterministic", True) is False:
                return f"dropout is active: {where} is in train mode; call model.eval() in the factory"
            if getattr(part, "use_running_average", True) is False:
                return f"train mode: {where} uses batch statistics; call model.eval() in the factory"
        return ""


def _digest(weights: Mapping[str, Any], configuration: list[Any], classes: list[type]) -> Digest:
    """Weights by value, configuration by what it holds, classes by their code."""
    digest = hashlib.blake2b(digest_size=20)
    for path, value in weights.items():
        array = raw(value)
        digest.update(f"{path}:{array.dtype}:{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    parts = state_digest(configuration), code_digest(classes)
    for part in parts:
        digest.update(part.hexdigest.encode())
    return Digest(digest.hexdigest(), all(part.stable for part in parts))


def needs_x64(signature: Signature) -> bool:
    """Whether JAX would narrow one of the inputs, or was told by the user not to narrow any."""
    import jax

    return bool(jax.config.jax_enable_x64) or any(spec.dtype in WIDE for spec in signature.inputs.values())


def precision(signature: Signature) -> contextlib.AbstractContextManager[Any]:
    """x64 for this thread where the inputs need it, and as it was afterwards."""
    import jax

    return contextlib.nullcontext() if jax.config.jax_enable_x64 else enable_x64(needs_x64(signature))


def enable_x64(wanted: bool) -> contextlib.AbstractContextManager[Any]:
    """JAX's own context manager, which holds for this thread and beats the global switch."""
    import jax

    manager: contextlib.AbstractContextManager[Any] = jax.enable_x64(wanted)
    return manager


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Run on the CPU, where the machine has something else that JAX would choose."""
    import jax

    if jax.default_backend() == "cpu":
        yield
        return
    with jax.default_device(jax.devices("cpu")[0]):
        yield


def to_jax(name: str, array: np.ndarray) -> Any:
    """A copy as a JAX array of the very same dtype."""
    import jax.numpy as jnp

    if array.dtype.kind in "OUS":
        raise SourceError(f"input {name!r} is declared string, and JAX has no strings")
    made = jnp.array(array)
    if made.dtype != array.dtype:
        raise SourceError(f"JAX makes {made.dtype} of input {name!r}, which is declared {array.dtype.name}")
    return made


def is_array(value: Any) -> bool:
    """Whether ``value`` is an array, a tracer or a scalar of an array's dtype."""
    import jax

    return isinstance(value, (jax.Array, np.ndarray, np.generic))


def to_numpy(name: str, value: Any) -> np.ndarray:
    """A copy of an output."""
    if _is_key(value):
        raise SourceError(f"output {name!r} is a PRNG key, which ONNX has no form of: leave it out of what is returned")
    array = np.array(value)
    if array.dtype.kind == "c":
        raise SourceError(
            f"output {name!r} is complex, and ONNX has no complex outputs: return real and imaginary part"
        )
    return array


def raw(value: Any) -> np.ndarray:
    """An array's elements; those of a PRNG key are its words."""
    import jax

    return np.asarray(jax.random.key_data(value) if _is_key(value) else value)


def _is_key(value: Any) -> bool:
    import jax

    dtype = getattr(value, "dtype", None)
    return dtype is not None and bool(jax.dtypes.issubdtype(dtype, jax.dtypes.extended))
