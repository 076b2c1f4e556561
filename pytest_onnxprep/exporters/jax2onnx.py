"""jax2onnx, for JAX functions, Flax and Equinox modules. Opset 17 to 26.

Sizes go in as JAX's own symbols under the declared names, with the declared ranges: shape arithmetic is decided by what
was declared, and what it leaves open is refused by JAX with the comparison it stumbled over.
"""

from __future__ import annotations

import itertools
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np

from pytest_onnxprep.artifacts.onnx_model import tensor_bytes
from pytest_onnxprep.errors import ExporterError, SourceError
from pytest_onnxprep.exporters.jax2onnx_functions import check_kept, reachable_only, traced_anew
from pytest_onnxprep.exporters.job import EXTERNAL_DATA_BYTES, ExportJob
from pytest_onnxprep.exporters.unsupported import Operator, UnsupportedOperatorsError
from pytest_onnxprep.sources.jax_function import JaxSource, enable_x64, needs_x64
from pytest_onnxprep.sources.jax_interpret import called, closed_jaxpr
from pytest_onnxprep.sources.jax_trace import user_layer, user_line
from pytest_onnxprep.sources.load import one_line
from pytest_onnxprep.spec.signature import Signature

_RESERVED = frozenset(
    {"fn", "inputs", "opset", "return_mode", "output_path", "export_mode", "input_names", "output_names"}
)
#: Options of the plugin's own: translations that jax2onnx would want registered for the whole process.
_OURS = frozenset({"plugins"})
#: jax2onnx's names for sizes it cannot tell any more, after a scan for example.
_LOST = re.compile(r"JAX2ONNX_DYNAMIC_DIM_SENTINEL|dynamic_\d+")


def export(job: ExportJob) -> None:
    """Write ``job.path``. Raises whatever jax2onnx raises; the caller turns it into an `ExportFailed`."""
    import jax
    import jax.numpy as jnp

    try:
        import jax2onnx
    except ImportError as error:
        raise SourceError(f"exporter 'jax2onnx' needs {error.name}: pip install 'pytest-onnxprep[jax]'") from error
    options = job.options_for(jax2onnx.to_onnx, _RESERVED, _OURS)
    source = cast("JaxSource", job.source)
    names = list(job.signature.inputs)

    shapes: list[tuple[Any, ...]] = []

    def flat(*arrays: Any) -> tuple[Any, ...]:
        outputs = source.named(source.call(dict(zip(names, arrays, strict=True))), job.signature)
        shapes[:] = [np.shape(value) for _, value in outputs]
        return tuple(value for _, value in outputs)

    def apart(*arrays: Any) -> tuple[Any, ...]:
        return tuple(map(jnp.copy, flat(*arrays)))

    def convert(function: Any) -> Any:
        with traced_anew():
            return jax2onnx.to_onnx(
                function,
                _shapes(job.signature),
                opset=job.variant.opset,
                input_names=names,
                output_names=job.output_names,
                **options,
            )

    # Without x64 JAX makes int32 of int64. The option is for floats: it turns every one of the model into a double.
    if any(spec.dtype == "float64" for spec in job.signature.inputs.values()):
        options.setdefault("enable_double_precision", True)
    switch = jax.config.values["jax_enable_x64"]
    try:
        with enable_x64(needs_x64(job.signature)), _plugins(job), reachable_only(), _half_kept():
            try:
                model = convert(flat)
            except ValueError as error:  # an output that is an input, or another output: jax2onnx names a value once
                if "Conflicting custom names" not in str(error):
                    raise
                model = convert(apart)
            check_kept(model, lambda: closed_jaxpr(source, job.signature, _shapes(job.signature))[0])
    except Exception as error:
        equations = _equations(error)
        if not equations:
            raise
        said = f"{one_line(error)} ({_where(equations)})"
        if isinstance(error, NotImplementedError):
            raise UnsupportedOperatorsError(said, _operators(error, equations)) from error
        raise CannotLower(said) from error
    finally:
        jax.config.update("jax_enable_x64", switch)  # jax2onnx leaves it on when it was on for this thread
    _name_sizes(model, shapes)
    _save(model, job.path)


@contextmanager
def _plugins(job: ExportJob) -> Iterator[None]:
    """Register the user's translations for this export only."""
    from jax2onnx.plugins import plugin_system

    plugins = job.variant.options.get("plugins", {})
    if not isinstance(plugins, Mapping) or not all(isinstance(name, str) for name in plugins):
        raise ExporterError(
            "option 'plugins' of jax2onnx must map names of primitives to PrimitiveLeafPlugin classes, as in "
            f"{{'my_cube': CubePlugin}}, not {plugins!r}"
        )
    plugin_system.import_all_plugins()  # would put its own over ours
    registry = plugin_system.PLUGIN_REGISTRY
    before = {name: registry.get(name) for name in plugins}
    try:
        for name, plugin in plugins.items():
            made = plugin() if isinstance(plugin, type) else plugin
            made.primitive = name
            registry[name] = made
        yield
    finally:
        for name, kept in before.items():
            if kept is None:
                registry.pop(name, None)
            else:
                registry[name] = kept


@contextmanager
def _half_kept() -> Iterator[None]:
    """Keep float16 constants as they are: jax2onnx makes float32 of many, which no operator takes beside float16."""
    from jax2onnx.converter.ir_builder import IRBuilder

    original = IRBuilder.add_initializer_from_scalar

    def add(builder: Any, name: str, value: Any) -> Any:
        before = builder.enable_double_precision  # without which every float is a float32
        builder.enable_double_precision = before or np.asarray(value).dtype == np.float16
        try:
            return original(builder, name, value)
        finally:
            builder.enable_double_precision = before

    with mock.patch.object(IRBuilder, "add_initializer_from_scalar", add):
        yield


class CannotLower(Exception):
    """jax2onnx has no translation of a primitive, or not of this use of it."""


def _equations(error: BaseException) -> list[Any]:
    """What jax2onnx was at, outermost first; nothing while it was still tracing."""
    held: Iterator[Any] = (frame.f_locals.get("eqn") for frame, _ in traceback.walk_tb(error.__traceback__))
    return [found for found in held if hasattr(found, "primitive") and hasattr(found, "source_info")]


def _where(equations: list[Any]) -> str:
    """``primitive 'svd' at model.py:12  jnp.linalg.svd(x)``."""
    line = next(filter(None, map(user_line, reversed(equations))), "")
    return f"primitive {equations[-1].primitive.name!r}{f' at {line}' if line else ''}"


def _operator(equations: list[Any]) -> Operator:
    """The primitive that an equation calls, with the line of the nearest one that has one of the user's."""
    line = next(filter(None, map(user_line, reversed(equations))), "")
    layer = next(filter(None, map(user_layer, reversed(equations))), "")
    return Operator(equations[-1].primitive.name, layer, line)


def _operators(error: BaseException, equations: list[Any]) -> list[Operator]:
    """The primitive that was refused, and every other one of the program that jax2onnx has nothing for."""
    from jax2onnx.plugins.plugin_system import PLUGIN_REGISTRY

    refused = _operator(equations)
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)]
    programs = (held.get("jpr") or held.get("jaxpr") for held in frames)
    outer = next((program for program in programs if hasattr(program, "eqns")), None)
    paths = _all_equations(outer, []) if outer is not None else ()
    unknown = [_operator(path) for path in paths if path[-1].primitive.name not in PLUGIN_REGISTRY]
    same = [operator for operator in unknown if operator.name == refused.name]  # what is jitted is met as a copy
    return [*(same or [refused]), *(operator for operator in unknown if operator.name != refused.name)]


def _all_equations(program: Any, path: list[Any]) -> Iterator[list[Any]]:
    """Every equation of a program and of those inside it, each with the ones it lies in."""
    for equation in program.eqns:
        yield [*path, equation]
        inside = called(equation)
        if inside is not None:
            yield from _all_equations(inside[0], [*path, equation])


def _name_sizes(model: Any, shapes: list[tuple[Any, ...]]) -> None:
    """Take back the names that jax2onnx gives to sizes it has lost track of, and give outputs JAX's own."""
    values: list[Any] = [*model.graph.output, *model.graph.value_info]
    for value, shape in zip(values, itertools.chain(shapes, itertools.repeat(())), strict=False):
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if _LOST.fullmatch(dim.dim_param):
                dim.ClearField("dim_param")
                if len(shape) == len(dims) and _LOST.fullmatch(str(shape[axis])) is None:
                    dim.dim_param = str(shape[axis])


def _shapes(signature: Signature) -> list[Any]:
    """What goes in, with a JAX symbol for every declared dim.

    Raises:
        ExporterError: JAX has no way to say one of the sizes.
    """
    import jax

    constraints = []
    for name, dim in signature.dims.items():
        constraints += [f"{name} >= {dim.min}", f"{name} <= {dim.max}"]
        if dim.multiple_of > 1:
            constraints.append(f"mod({name}, {dim.multiple_of}) == 0")
    made = []
    try:
        scope = jax.export.SymbolicScope(constraints)
        symbols = {name: jax.export.symbolic_shape(name, scope=scope)[0] for name in signature.dims}
        for spec in signature.inputs.values():
            shape = tuple(dim.evaluate(symbols) for dim in spec.shape)
            made.append(jax.ShapeDtypeStruct(shape, spec.dtype))
    except Exception as error:
        raise ExporterError(
            f"exporter 'jax2onnx': JAX has no symbols for these dims ({one_line(error)}); rename them or give them one "
            "size"
        ) from error
    return made


def _save(model: Any, path: Path) -> None:
    import onnx

    large = sum(map(tensor_bytes, model.graph.initializer)) > EXTERNAL_DATA_BYTES
    onnx.save(model, str(path), save_as_external_data=large, location=f"{path.name}.data" if large else None)
