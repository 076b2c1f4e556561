"""The arguments of the marks, read once into plain data. Every constructor validates eagerly."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pytest_onnxprep.spec.dims import Dim, parse_dim_ranges
from pytest_onnxprep.spec.errors import SpecError, closest
from pytest_onnxprep.spec.tensor import TensorSpec, parse_tensor_spec
from pytest_onnxprep.spec.tolerance import Tolerance

METRIC_NAMES = ("sqnr_db", "psnr_db", "cosine", "top1")
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

    def known_dims(self) -> set[str] | None:
        """Names of all dims, or None where only the source knows them."""
        if self.inputs is None:
            return None
        return {name for spec in self.inputs.values() for name in spec.names} | set(self.dims)


@dataclass(frozen=True)
class ParityRequest:
    """``parity``: how close, on how many examples, against which oracle."""

    atol: float | None = None
    rtol: float | None = None
    max_examples: int | None = None
    oracle: str = "framework"
    special_values: bool = False
    outputs: Mapping[str, Tolerance | None] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def tolerance(self) -> Tolerance:
        """The tolerance of outputs that have none of their own."""
        return Tolerance(self.atol, self.rtol)


@dataclass(frozen=True)
class LatencyRequest:
    """``latency_budget``: percentiles in milliseconds, at one or several fixed sizes."""

    budgets: Mapping[str, float]
    at: tuple[Mapping[str, int], ...] = ({},)
    threads: int = 1
    provider: str | None = None
    max_time_s: float = 3.0


@dataclass(frozen=True)
class SizeRequest:
    """``size_budget``: megabytes (10**6 bytes) of the file with its external data, of its weights, and nodes."""

    mb: float | None = None
    weights_mb: float | None = None
    nodes: int | None = None

    def budgets(self) -> dict[str, float]:
        """The limits that were given."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


# onnx_export ----------------------------------------------------------------------------------------------------


def read_export(
    source: Any = None,
    *,
    inputs: Any = None,
    outputs: Any = None,
    dims: Any = None,
    generate: Any = None,
    samples: Any = None,
    artifact: Any = None,
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
    for name, value in (("precision", precision), ("transform", transform), ("target", target)):
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
    return ExportRequest(
        source,
        specs,
        _read_outputs(outputs),
        ranges,
        generate,
        samples,
        artifact,
        _read_exporters(exporter),
        _read_opsets(opset),
        variants,
        domains,
    )


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


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _read_exporters(exporter: Any) -> tuple[str | None, ...]:
    found = _as_tuple(exporter)
    for name in found:
        if name is not None and not isinstance(name, str):
            raise SpecError(f"exporter must be a name or a list of names, not {name!r}")
    return _distinct("exporter", found)


def _read_opsets(opset: Any) -> tuple[int | None, ...]:
    found = _as_tuple(opset)
    for number in found:
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise SpecError(f"opset must be a positive integer or a list of them, not {number!r}")
    return _distinct("opset", found)


def _distinct(what: str, found: tuple[Any, ...]) -> tuple[Any, ...]:
    if not found or len(set(found)) != len(found):
        raise SpecError(f"{what}: a list must not be empty or repeat itself, not {list(found)}")
    return found


def _read_options(options: Any) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """Split the plugin's own ``domains`` off the keyword arguments for the exporter."""
    found = tuple({} if option is None else option for option in _as_tuple(options))
    domains: tuple[str, ...] = ()
    variants = []
    for option in found:
        if not isinstance(option, Mapping) or not all(isinstance(name, str) for name in option):
            raise SpecError(f"options must be a mapping of keyword arguments for the exporter, not {option!r}")
        domains += tuple(_as_tuple(option.get("domains", ())))
        variants.append({name: value for name, value in option.items() if name != "domains"})
    return tuple(variants), domains


# checks ---------------------------------------------------------------------------------------------------------


def read_parity(
    atol: float | None = None,
    rtol: float | None = None,
    *,
    max_examples: int | None = None,
    oracle: str = "framework",
    special_values: bool = False,
    outputs: Any = None,
    metrics: Any = None,
    min_sqnr_db: float | None = None,
    min_top1: float | None = None,
) -> ParityRequest:
    """Read the arguments of ``parity``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    Tolerance(atol, rtol)
    if max_examples is not None:
        _check_count("max_examples", max_examples)
    if oracle not in ("framework", "onnx"):
        raise SpecError(f"oracle must be 'framework' or 'onnx' (the ONNX reference evaluator), not {oracle!r}")
    if not isinstance(special_values, bool):
        raise SpecError(f"special_values must be True or False, not {special_values!r}")
    minimums = _read_metrics(metrics)
    for name, value in (("sqnr_db", min_sqnr_db), ("top1", min_top1)):
        if value is not None:
            minimums[name] = _finite(f"min_{name}", value)
    if not 0 <= minimums.get("top1", 0) <= 1:
        raise SpecError(f"min_top1 is a share in 0..1, not {minimums['top1']}")
    return ParityRequest(atol, rtol, max_examples, oracle, special_values, _read_per_output(outputs), minimums)


def _read_metrics(metrics: Any) -> dict[str, float]:
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise SpecError(f"metrics must map names to minimums, as in {{'cosine': 0.999}}, not {metrics!r}")
    for name in metrics:
        if name not in METRIC_NAMES:
            raise SpecError(f"unknown metric {name!r}{closest(str(name), METRIC_NAMES)} Accepted: {', '.join(METRIC_NAMES)}.")
    return {name: _finite(f"metrics[{name!r}]", value) for name, value in metrics.items()}


def _read_per_output(outputs: Any) -> dict[str, Tolerance | None] | None:
    if outputs is None:
        return None
    if isinstance(outputs, str):
        return {outputs: None}
    if isinstance(outputs, Sequence) and all(isinstance(name, str) for name in outputs):
        return dict.fromkeys(outputs)
    if isinstance(outputs, Mapping):
        return {name: _read_tolerance(name, value) for name, value in outputs.items()}
    raise SpecError(f"outputs must be names, or names with tolerances such as {{'boxes': (1e-3, 1e-3)}}, not {outputs!r}")


def _read_tolerance(name: str, value: Any) -> Tolerance | None:
    if value is None or isinstance(value, Tolerance):
        return value
    try:
        if isinstance(value, Mapping):
            return Tolerance(**value)
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return Tolerance(*value)
        if isinstance(value, (int, float)):
            return Tolerance(atol=value)
    except (SpecError, TypeError) as error:
        raise SpecError(f"outputs[{name!r}]: {error}") from None
    raise SpecError(f"outputs[{name!r}] must be atol, (atol, rtol) or {{'atol': ..., 'rtol': ...}}, not {value!r}")


def read_latency(
    p50_ms: float | None = None,
    p90_ms: float | None = None,
    p95_ms: float | None = None,
    p99_ms: float | None = None,
    mean_ms: float | None = None,
    *,
    at: Any = None,
    threads: int = 1,
    provider: str | None = None,
    max_time_s: float | None = None,
    max_regression: Any = None,
) -> LatencyRequest:
    """Read the arguments of ``latency_budget``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if max_regression is not None:
        raise SpecError("max_regression is not available in this version; give an absolute budget such as p95_ms=15")
    given = {"p50_ms": p50_ms, "p90_ms": p90_ms, "p95_ms": p95_ms, "p99_ms": p99_ms, "mean_ms": mean_ms}
    budgets = {name: _positive(name, value) for name, value in given.items() if value is not None}
    if not budgets:
        raise SpecError("no budget given; accepted: p50_ms, p90_ms, p95_ms, p99_ms, mean_ms (milliseconds)")
    ordered = [budgets[name] for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms") if name in budgets]
    if ordered != sorted(ordered):
        raise SpecError(f"a higher percentile cannot have the smaller budget: {budgets}")
    _check_count("threads", threads)
    if provider is not None and not isinstance(provider, str):
        raise SpecError(f"provider must be an execution provider's name such as 'cpu', not {provider!r}")
    limit = 3.0 if max_time_s is None else _positive("max_time_s", max_time_s)
    return LatencyRequest(budgets, _read_at(at), threads, provider, limit)


def _read_at(at: Any) -> tuple[Mapping[str, int], ...]:
    if at is None:
        return ({},)
    found = _as_tuple(at)
    for sizes in found:
        if not isinstance(sizes, Mapping) or not sizes:
            raise SpecError(f"at must map dims to sizes, as in {{'batch': 1}}, or be a list of such, not {sizes!r}")
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise SpecError(f"at: {name} must be a size, not {size!r}")
    if not found:
        raise SpecError("at: the list of sizes is empty")
    return found


def read_size(mb: float | None = None, weights_mb: float | None = None, nodes: int | None = None) -> SizeRequest:
    """Read the arguments of ``size_budget``.

    Raises:
        SpecError: anything malformed, with what is accepted.
    """
    if mb is None and weights_mb is None and nodes is None:
        raise SpecError("no budget given; accepted: mb, weights_mb (megabytes of 10**6 bytes), nodes (a count)")
    if nodes is not None:
        _check_count("nodes", nodes)
    return SizeRequest(
        None if mb is None else _positive("mb", mb),
        None if weights_mb is None else _positive("weights_mb", weights_mb),
        nodes,
    )


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SpecError(f"{name} must be a finite number, not {value!r}")
    return float(value)


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise SpecError(f"{name} must be a positive number, not {value!r}")
    return float(value)


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpecError(f"{name} must be a whole number >= 1, not {value!r}")
