"""The arguments of ``onnx_export``, read once into plain data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_onnxprep.spec.dims import DEFAULT_DIM, Dim, parse_dim_ranges
from pytest_onnxprep.spec.errors import SpecError, as_tuple, closest
from pytest_onnxprep.spec.layout import Layout
from pytest_onnxprep.spec.own_options import check_own_options
from pytest_onnxprep.spec.shape_strategy import ShapeStrategy, check_buckets, read_strategy
from pytest_onnxprep.spec.target_files import target_names
from pytest_onnxprep.spec.tensor import TensorSpec, parse_tensor_spec

_INPUTS = "accepted: {name: 'dtype[dims]' or TensorSpec(...) or example array}"


@dataclass(frozen=True)
class ExportRequest:
    """``onnx_export``: what to export, in which variants, and what goes in and out.

    ``inputs`` is None where the source is to say it itself; ``source`` is None where the fixture ``model`` gives it.
    """

    source: Any = None
    inputs: Mapping[str, TensorSpec] | None = None
    outputs: Mapping[str, TensorSpec | None] | None = None
    dims: Mapping[str, Dim] = field(default_factory=dict)
    generate: Callable[..., Any] | None = None
    samples: Any = None
    artifact: Any = None
    exporters: tuple[str | None, ...] = (None,)
    opsets: tuple[int | None, ...] = (None,)
    options: tuple[Mapping[str, Any], ...] = ({},)
    domains: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    strategy: ShapeStrategy = field(default_factory=ShapeStrategy)

    def known_dims(self) -> set[str] | None:
        """Names of all dims, or None where only the source knows them."""
        if self.inputs is None:
            return None
        return {name for spec in self.inputs.values() for name in spec.names} | set(self.dims)


def read_export(
    source: Any = None,
    *,
    inputs: Any = None,
    outputs: Any = None,
    dims: Any = None,
    generate: Any = None,
    samples: Any = None,
    artifact: Any = None,
    shapes: Any = None,
    buckets: Any = None,
    exporter: Any = None,
    opset: Any = None,
    precision: Any = None,
    transform: Any = None,
    options: Any = None,
    target: Any = None,
    args: Any = None,
    input_names: Any = None,
    output_names: Any = None,
    dynamic_axes: Any = None,
    opset_version: Any = None,
) -> ExportRequest:
    """Read the arguments of ``onnx_export``; the last five are ``torch.onnx.export``'s own spelling.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if isinstance(source, (bool, int, float, bytes, list, tuple, Mapping)):
        raise SpecError(f"source {source!r} is no model; accepted: a zero-argument factory, a model, or a path")
    for name, value in (("precision", precision), ("transform", transform)):
        if value is not None:
            raise SpecError(f"{name}={value!r} is not available in this version; leave it out")
    inputs = _either("inputs", inputs, "args", args)
    outputs = _either("outputs", outputs, "output_names", output_names)
    opset = _either("opset", opset, "opset_version", opset_version)
    specs = _read_inputs(inputs, input_names)
    ranges = parse_dim_ranges(dims)
    if dynamic_axes is not None:
        specs, ranges = _apply_dynamic_axes(specs, ranges, dynamic_axes, outputs)
    if generate is not None and not callable(generate):
        raise SpecError(f"generate must be callable as generate(dims, rng), not {generate!r}")
    if generate is not None and specs is None:
        raise SpecError("generate needs inputs={...}: the arrays it makes are checked against them")
    if specs is not None and generate is None:
        used = {name for spec in specs.values() for name in spec.names}
        for name in ranges:
            if name not in used:
                raise SpecError(
                    f"dims: no input has a dim named {name!r}{closest(name, used)} "
                    f"Named dims of the inputs: {', '.join(sorted(used)) or 'none'}."
                )
    if artifact is not None and not isinstance(artifact, (str, os.PathLike)):
        raise SpecError(f"artifact must be the path of an ONNX file, not {artifact!r}")
    if samples is not None and not callable(samples) and not isinstance(samples, (str, os.PathLike)):
        raise SpecError(f"samples must be a zero-argument factory of feeds, an .npz file or a folder, not {samples!r}")
    variants, domains = _read_options(options)
    named_outputs = _read_outputs(outputs)
    for variant in variants:
        Layout.of(variant).check(specs, named_outputs)
    strategy = read_strategy(shapes, buckets)
    if strategy.buckets and specs is not None:
        check_buckets(strategy.buckets, {name: ranges.get(name, DEFAULT_DIM) for name in {*used_names(specs), *ranges}})
    return ExportRequest(
        source,
        specs,
        named_outputs,
        ranges,
        generate,
        samples,
        artifact,
        _read_exporters(exporter),
        _read_opsets(opset),
        variants,
        domains,
        () if target is None else target_names(target),
        strategy,
    )


def used_names(specs: Mapping[str, TensorSpec]) -> list[str]:
    """Named dims of all inputs, in order of appearance."""
    return list(dict.fromkeys(name for spec in specs.values() for name in spec.names))


def _either(name: str, value: Any, alias: str, other: Any) -> Any:
    if value is not None and other is not None:
        raise SpecError(f"{name} and {alias} say the same thing; give one of them")
    return other if value is None else value


def _read_inputs(inputs: Any, names: Any) -> dict[str, TensorSpec] | None:
    if inputs is None:
        if names is not None:
            raise SpecError("input_names needs args (example tensors in the same order)")
        return None
    if not isinstance(inputs, Mapping):
        examples = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
        default = ["input"] if len(examples) == 1 else [f"input_{index}" for index in range(len(examples))]
        named = list(names) if names is not None else default
        if len(named) != len(examples):
            raise SpecError(f"input_names has {len(named)} names for {len(examples)} example inputs")
        if not all(hasattr(example, "shape") for example in examples):
            raise SpecError(f"inputs must be a mapping or example tensors, not {inputs!r}; {_INPUTS}")
        inputs = dict(zip(named, examples, strict=True))
    specs: dict[str, TensorSpec] = {}
    for name, value in inputs.items():
        if not isinstance(name, str) or not name:
            raise SpecError(f"inputs: {name!r} is not an input name; {_INPUTS}")
        try:
            specs[name] = parse_tensor_spec(value)
        except SpecError as error:
            raise SpecError(f"inputs[{name!r}]: {error}") from None
    return specs


def _read_outputs(outputs: Any) -> dict[str, TensorSpec | None] | None:
    if outputs is None:
        return None
    if isinstance(outputs, str):
        outputs = [outputs]
    if isinstance(outputs, Mapping):
        try:
            return {name: None if spec is None else parse_tensor_spec(spec) for name, spec in outputs.items()}
        except SpecError as error:
            raise SpecError(f"outputs: {error}") from None
    if isinstance(outputs, Sequence) and all(isinstance(name, str) for name in outputs) and outputs:
        if len(set(outputs)) != len(outputs):
            raise SpecError(f"outputs: names must differ, not {list(outputs)}")
        return dict.fromkeys(outputs)
    raise SpecError(f"outputs must be names, or a mapping of names to 'dtype[dims]', not {outputs!r}")


def _apply_dynamic_axes(
    specs: dict[str, TensorSpec] | None, ranges: dict[str, Dim], dynamic_axes: Any, outputs: Any
) -> tuple[dict[str, TensorSpec], dict[str, Dim]]:
    """Turn ``{"x": {0: "batch"}}`` or ``{"x": [0]}`` into named dims of the example inputs."""
    if specs is None:
        raise SpecError("dynamic_axes needs example inputs: inputs={name: tensor} or args=(tensor, ...)")
    if not isinstance(dynamic_axes, Mapping):
        raise SpecError(f"dynamic_axes must map names to axes, as in {{'x': {{0: 'batch'}}}}, not {dynamic_axes!r}")
    known = [*specs, *(outputs if outputs is not None and not isinstance(outputs, str) else [outputs or "output"])]
    specs, ranges = dict(specs), dict(ranges)
    for name, axes in dynamic_axes.items():
        if name not in known:
            raise SpecError(
                f"dynamic_axes names {name!r}, which is no input or output{closest(name, known)} "
                f"torch ignores such a key without a word. Known: {', '.join(known)}."
            )
        if name not in specs:
            continue
        spec = specs[name]
        named = axes if isinstance(axes, Mapping) else {axis: f"{name}_dim{axis}" for axis in axes}
        shape = list(spec.shape)
        for axis, dim in named.items():
            if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
                raise SpecError(f"dynamic_axes[{name!r}]: axis {axis!r} is outside the example's rank {len(shape)}")
            traced = int(str(shape[axis])) if shape[axis].is_static else 0
            shape[axis] = dim
            # The example's size is the only hint at a sensible range.
            ranges.setdefault(dim, Dim(1, max(8, 2 * traced), example=traced or None))
        specs[name] = replace(spec, shape=tuple(shape))
    return specs, ranges


def _read_exporters(exporter: Any) -> tuple[str | None, ...]:
    found = as_tuple(exporter)
    for name in found:
        if name is not None and not isinstance(name, str):
            raise SpecError(f"exporter must be a name or a list of names, not {name!r}")
    return _distinct("exporter", found)


def _read_opsets(opset: Any) -> tuple[int | None, ...]:
    found = as_tuple(opset)
    for number in found:
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise SpecError(f"opset must be a positive integer or a list of them, not {number!r}")
    return _distinct("opset", found)


def _distinct(what: str, found: tuple[Any, ...]) -> tuple[Any, ...]:
    if not found or len(set(found)) != len(found):
        raise SpecError(f"{what}: a list must not be empty or repeat itself, not {list(found)}")
    return found


def _read_options(options: Any) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """Split the plugin's own ``domains`` off the exporter's keyword arguments; ``custom_opsets`` names some too."""
    found = tuple({} if option is None else option for option in as_tuple(options))
    domains: tuple[str, ...] = ()
    variants = []
    for option in found:
        if not isinstance(option, Mapping) or not all(isinstance(name, str) for name in option):
            raise SpecError(f"options must be a mapping of keyword arguments for the exporter, not {option!r}")
        check_own_options(option)
        domains += tuple(as_tuple(option.get("domains", ())))
        imported = option.get("custom_opsets")
        domains += tuple(imported) if isinstance(imported, Mapping) else ()
        variants.append({name: value for name, value in option.items() if name != "domains"})
    return tuple(variants), domains
