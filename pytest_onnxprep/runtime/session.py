"""ONNX Runtime sessions with every option that changes a timing fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_onnxprep.errors import OnnxPrepError, closest
from pytest_onnxprep.runtime.bfloat16 import teach
from pytest_onnxprep.runtime.custom_ops import register

if TYPE_CHECKING:
    import numpy as np

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
_FATAL_ONLY = 4  # errors are raised as exceptions; printing them as well only clutters the report

#: ONNX Runtime's element types whose name is not numpy's own.
_ELEMENT_TYPES = {"float": "float32", "double": "float64"}


class TensorInfo(NamedTuple):
    """One input or output as ONNX Runtime declares it.

    ``dtype`` is a numpy dtype name (or ``bfloat16``, ``string``, ...); of anything but a tensor it is ONNX Runtime's
    own type text, such as ``seq(tensor(float))``. ``shape`` holds integers, names of dims, and None for nameless ones.
    """

    name: str
    dtype: str
    shape: list[int | str | None]


def make_session(
    path: str | Path,
    *,
    provider: str | None = None,
    threads: int | None = None,
    optimized: bool = True,
    configure: Callable[[Any], None] | None = None,
    custom_ops: Iterable[str] = (),
    lean: bool = False,
    weights: Mapping[str, np.ndarray] | None = None,
) -> Any:
    """Load an ONNX file into an ``onnxruntime.InferenceSession``.

    Idle threads never spin: spinning steals time from whatever is measured next, and it hides how loaded a machine is.

    Args:
        path: the ONNX file.
        provider: execution provider, ``"cuda"`` or ``"CUDAExecutionProvider"``; None is the CPU's.
        threads: threads of the intra-op pool, the caller's included; None is ONNX Runtime's default.
        optimized: all graph optimisations, or none at all.
        configure: sets further ``SessionOptions``.
        custom_ops: libraries of custom operators (``OnnxModel.custom_ops``).
        lean: leave external data in the file, mapped into memory, instead of packing a copy of it for the kernels:
            12 layers of 196 MB load in 0.04 s and nothing instead of 6 s and 2.3 GB, and run a little slower.
        weights: initializer -> its elements, which are used where they lie instead of those in the file.

    Raises:
        OnnxPrepError: a provider, thread count or library that cannot be had. What ONNX Runtime says of a file it
            does not take is passed on as it is.
    """
    import onnxruntime

    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise OnnxPrepError(f"threads must be a whole number >= 1, or None for ONNX Runtime's default, not {threads!r}")
    wanted = provider_name(provider)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    if configure is not None:
        configure(options)
    register(options, custom_ops)
    if lean:
        options.add_session_config_entry("session.disable_prepacking", "1")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (weights or {}).values()]
    for name, value in zip(weights or {}, values, strict=True):
        options.add_initializer(name, value)
    session = onnxruntime.InferenceSession(
        str(path),
        sess_options=options,
        providers=[wanted] if wanted == CPU else [wanted, CPU],
        enable_fallback=int(wanted != CPU),  # to the CPU from the CPU: the same error a second time, and a banner
    )
    session.onnxprep_weights = (weights, values)  # must outlive the session, which only points to them
    if wanted not in session.get_providers():  # ONNX Runtime falls back to the CPU with a warning only
        raise OnnxPrepError(
            f"ONNX Runtime could not start {wanted} and would run on {', '.join(session.get_providers())} instead; "
            f"check the device and its driver. Available: {', '.join(onnxruntime.get_available_providers())}."
        )
    teach(session)
    return session


def provider_name(provider: str | None) -> str:
    """The full name of an execution provider: ``"cuda"`` is ``"CUDAExecutionProvider"``, None the CPU's.

    Raises:
        OnnxPrepError: no such provider, or not one of this ONNX Runtime.
    """
    import onnxruntime

    if provider is None:
        return CPU
    available = onnxruntime.get_available_providers()
    known = {_short(name): name for name in [*onnxruntime.get_all_providers(), *available]}
    full = known.get(_short(provider)) if isinstance(provider, str) else None
    if full in available:
        return str(full)
    listed = f"Available: {', '.join(available)}."
    if full is None:
        raise OnnxPrepError(f"unknown execution provider {provider!r}{closest(_short(str(provider)), known)} {listed}")
    raise OnnxPrepError(f"{full} is not part of this ONNX Runtime {onnxruntime.__version__}. {listed}")


def session_types(session: Any) -> tuple[list[TensorInfo], list[TensorInfo]]:
    """The session's inputs and outputs, each in the model's order."""
    return [_info(node) for node in session.get_inputs()], [_info(node) for node in session.get_outputs()]


def _info(node: Any) -> TensorInfo:
    kind, _, element = node.type.rstrip(")").partition("(")
    dtype = _ELEMENT_TYPES.get(element, element) if kind == "tensor" else node.type
    return TensorInfo(node.name, dtype, list(node.shape))


def _short(provider: str) -> str:
    return provider.lower().removesuffix(_SUFFIX.lower())
