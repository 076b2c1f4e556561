"""Which exporters there are, what they take, and which is the best for a source: plain data, imports nothing heavy."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from pytest_onnxprep.errors import ExporterError, closest
from pytest_onnxprep.spec.layout import Layout

ENTRY_POINT_GROUP = "pytest_onnxprep.exporters"


class ExporterInfo(NamedTuple):
    """One exporter.

    Args:
        name: as written in ``exporter=``.
        module: where its ``export(job)`` function lives.
        frameworks: the sources it takes.
        opsets: the opsets it produces, first and last.
        default_opset: the opset it is asked for when the user names none.
        why_not_below: what happens below its first opset, for the message.
        packages: distributions whose version can change the file.
        turns: whether it takes ``inputs_as_nchw`` and ``outputs_as_nchw``.
    """

    name: str
    module: str
    frameworks: tuple[str, ...]
    opsets: tuple[int, int]
    default_opset: int | None
    why_not_below: str = ""
    packages: tuple[str, ...] = ()
    turns: bool = False

    def takes_opset(self, opset: int) -> bool:
        """Whether the exporter produces this opset."""
        return self.opsets[0] <= opset <= self.opsets[1]


_TORCH = ("torch", "onnx", "onnxscript", "onnx-ir", "numpy")

CATALOG: dict[str, ExporterInfo] = {
    info.name: info
    for info in (
        ExporterInfo(
            "dynamo",
            "pytest_onnxprep.exporters.dynamo",
            ("torch", "transformers"),
            (18, 25),
            20,
            "asked for less, torch's exporter silently leaves the file at opset 18; use exporter='torchscript'",
            (*_TORCH, "transformers"),
        ),
        ExporterInfo(
            "torchscript",
            "pytest_onnxprep.exporters.torchscript",
            ("torch", "transformers"),
            (7, 23),
            17,
            "",
            (*_TORCH, "transformers"),
        ),
        ExporterInfo(
            "transformers",
            "pytest_onnxprep.exporters.transformers_library",
            ("transformers",),
            (18, 25),
            20,
            "it is built on torch's dynamo exporter; use exporter='torchscript'",
            (*_TORCH, "transformers"),
        ),
        ExporterInfo(
            "tf2onnx",
            "pytest_onnxprep.exporters.tf2onnx",
            ("keras", "tensorflow", "tflite", "tfjs"),
            (9, 18),
            18,
            "",
            ("tensorflow", "keras", "tf2onnx", "onnx", "numpy"),
            turns=True,
        ),
        ExporterInfo(
            "keras",
            "pytest_onnxprep.exporters.keras_library",
            ("keras",),
            (9, 25),
            18,
            "",
            ("tensorflow", "keras", "tf2onnx", "torch", "jax", "jax2onnx", "onnx", "numpy"),
        ),
        ExporterInfo(
            "jax2onnx",
            "pytest_onnxprep.exporters.jax2onnx",
            ("jax",),
            (17, 26),
            23,
            "asked for less, jax2onnx writes nodes that the opset does not have, reductions and Shape among them",
            ("jax", "jaxlib", "jax2onnx", "flax", "equinox", "onnx", "onnx-ir", "numpy"),
            turns=True,
        ),
        ExporterInfo("none", "pytest_onnxprep.exporters.none", ("onnx",), (1, 10_000), None, "", ("onnx",)),
    )
}

#: The exporter a framework's models get where the user names none, newest first.
_PREFERENCE = {
    "torch": ("dynamo", "torchscript"),
    "transformers": ("dynamo", "torchscript"),
    "keras": ("tf2onnx",),
    "tensorflow": ("tf2onnx",),
    "tflite": ("tf2onnx",),
    "tfjs": ("tf2onnx",),
    "jax": ("jax2onnx",),
    "onnx": ("none",),
}
#: What is left where all of these are unsuited: Keras on a backend that is not TensorFlow.
_INSTEAD = {"keras": ("keras",)}


def find(name: str) -> ExporterInfo:
    """Look an exporter up, ours first, then the entry points of other distributions.

    Raises:
        ExporterError: there is no such exporter.
    """
    if name in CATALOG:
        return CATALOG[name]
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        info = entry.load()
        if isinstance(info, ExporterInfo):
            return info
        raise ExporterError(f"entry point {entry.value!r} of exporter {name!r} must be an ExporterInfo, not {info!r}")
    raise ExporterError(f"unknown exporter {name!r}{closest(name, CATALOG)} Accepted: {', '.join(CATALOG)}.")


def best_for(
    framework: str, opset: int | None, unsuited: Container[str] = (), last_resorts: Container[str] = ()
) -> str:
    """The exporter a framework's model gets at this opset.

    Args:
        framework: of the source.
        opset: the one asked for, or None.
        unsuited: exporters that do not take this very model.
        last_resorts: exporters that are tried where no other produces the opset.

    Raises:
        ExporterError: no exporter of this framework produces it.
    """
    names = [name for name in _PREFERENCE[framework] if name not in unsuited] or [*_INSTEAD.get(framework, ())]
    names.sort(key=lambda name: name in last_resorts)
    for name in names:
        if opset is None or CATALOG[name].takes_opset(opset):
            return name
    ranges = ", ".join(f"{name} {CATALOG[name].opsets[0]}..{CATALOG[name].opsets[1]}" for name in names)
    raise ExporterError(f"no exporter of {framework} models produces opset {opset}; accepted: {ranges}")


def check_opset(info: ExporterInfo, opset: int | None) -> None:
    """Refuse an opset the exporter does not produce.

    Raises:
        ExporterError: with the range it does produce.
    """
    if opset is None or info.takes_opset(opset):
        return
    low, high = info.opsets
    why = f": {info.why_not_below}" if opset < low and info.why_not_below else ""
    raise ExporterError(f"exporter {info.name!r} does not produce opset {opset}; accepted: {low}..{high}{why}")


def check_framework(info: ExporterInfo, framework: str, label: str, unsuited: Mapping[str, str] | None = None) -> None:
    """Refuse a source the exporter does not take.

    Args:
        info: the exporter.
        framework: of the source.
        label: the source as messages call it.
        unsuited: exporters that do not take this very model -> why.

    Raises:
        ExporterError: with the exporters that do.
    """
    if framework in info.frameworks:
        if unsuited and info.name in unsuited:
            raise ExporterError(f"exporter {info.name!r} does not take {label}: {unsuited[info.name]}")
        return
    takers: Iterable[str] = [other.name for other in CATALOG.values() if framework in other.frameworks]
    raise ExporterError(f"exporter {info.name!r} does not take {label}; accepted for it: {', '.join(takers)}")


def check_layout(info: ExporterInfo, layout: Layout) -> None:
    """Refuse to turn pictures where the exporter cannot.

    Raises:
        ExporterError: with the exporters that can.
    """
    if layout and not info.turns:
        takers = ", ".join(other.name for other in CATALOG.values() if other.turns)
        raise ExporterError(
            f"exporter {info.name!r} does not take inputs_as_nchw and outputs_as_nchw; accepted for them: {takers}"
        )
