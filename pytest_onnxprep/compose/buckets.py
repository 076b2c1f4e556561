"""Several fixed shapes behind one dynamic face: inputs are padded into the smallest file that holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pytest_onnxprep.artifacts.composed_model import ComposedModel, Explanation, RunPart
from pytest_onnxprep.artifacts.onnx_model import OnnxModel
from pytest_onnxprep.compose.apart import apart, is_apart
from pytest_onnxprep.compose.probe import observed_dims, probe_sizes
from pytest_onnxprep.errors import ReferenceRefused, SourceError, SpecError
from pytest_onnxprep.exporters.workshop import Workshop
from pytest_onnxprep.fuzz.example import Maker
from pytest_onnxprep.sources.base import Feeds, Source
from pytest_onnxprep.spec.shape import DimExpr
from pytest_onnxprep.spec.shape_strategy import at_sizes, check_buckets
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec
from pytest_onnxprep.spec.variant import Variant

Sizes = Mapping[str, int]


class BucketedModel(ComposedModel):
    """Several files of one model, each for one size; ``run`` pads into the smallest that fits and cuts the rest off.

    ``buckets`` are the files, by names such as ``seq32``.
    """

    composition: Buckets

    def bucket_for(self, feeds: Feeds) -> str:
        """The name of the bucket that these inputs go to.

        Raises:
            ReferenceRefused: they are larger than all of them.
        """
        return self.composition.choose(self.composition.sizes_of(feeds))


class Buckets:
    """A `Composition` of files of fixed sizes.

    Args:
        signature: of the whole, its dims dynamic.
        buckets: name -> sizes.
        outputs: output -> its dims, along which padding is cut off.
        source: the model, for the explanation of a failure.
    """

    kind = "bucketed model"

    def __init__(
        self,
        signature: Signature,
        buckets: Mapping[str, Sizes],
        outputs: Mapping[str, tuple[DimExpr, ...]],
        source: Source,
    ) -> None:
        self._signature = signature
        self._buckets = dict(sorted(buckets.items(), key=lambda pair: math.prod(pair[1].values())))
        self._outputs = outputs
        self._source = source

    def answer(self, feeds: Feeds, run: RunPart) -> dict[str, np.ndarray]:
        """See `Composition.answer`."""
        sizes = self.sizes_of(feeds)
        name = self.choose(sizes)
        return self.cut(run(name, self.padded(feeds, sizes, self._buckets[name])), sizes)

    def answer_in_double(self, feeds: Feeds, run: RunPart) -> dict[str, np.ndarray] | None:
        """See `Composition.answer_in_double`."""
        try:
            return self.answer(feeds, run)
        except LookupError:
            return None

    def sizes_of(self, feeds: Feeds) -> dict[str, int]:
        """The named dims, as the shapes of the inputs have them."""
        sizes: dict[str, int] = {}
        sums: list[tuple[DimExpr, int]] = []
        for name, spec in self._signature.inputs.items():
            for dim, size in zip(spec.shape, feeds[name].shape, strict=True):
                if isinstance(dim.node, str):
                    sizes.setdefault(dim.node, size)
                elif isinstance(dim.node, tuple) and dim.node[0] == "+":
                    sums.append((dim, size))
        for dim, size in sums:  # ``past + seq`` gives the one that stands nowhere alone
            missing = [name for name in dim.names if name not in sizes]
            if len(missing) == 1:
                sizes[missing[0]] = size - dim.evaluate({**sizes, missing[0]: 0})
        return sizes

    def choose(self, sizes: Sizes) -> str:
        """The smallest bucket that holds these sizes.

        Raises:
            ReferenceRefused: none does.
        """
        for name, bucket in self._buckets.items():
            if all(sizes[dim] <= size for dim, size in bucket.items()):
                return name
        shown = ", ".join(f"{dim}={sizes[dim]}" for dim in next(iter(self._buckets.values())))
        raise ReferenceRefused(f"no bucket holds {shown}; there are {', '.join(self._buckets)}")

    def padded(self, feeds: Feeds, sizes: Sizes, bucket: Sizes) -> dict[str, np.ndarray]:
        """The inputs at the bucket's sizes: padded behind, masks with 0, others with what is nearest to 0."""
        wanted = {**sizes, **bucket}
        made = {}
        for name, spec in self._signature.inputs.items():
            array = feeds[name]
            more = [(0, size - old) for size, old in zip(spec.concrete(wanted), array.shape, strict=True)]
            made[name] = np.pad(array, more, constant_values=_filler(spec)) if any(b for _, b in more) else array
        return made

    def cut(self, outputs: Feeds, sizes: Sizes) -> dict[str, np.ndarray]:
        """The outputs without what stands for padding."""
        found = {}
        for name, array in outputs.items():
            ends = tuple(slice(dim.evaluate(sizes)) if dim.names else slice(None) for dim in self._outputs[name])
            found[name] = array[ends] if ends else array
        return found

    def explain(self, model: ComposedModel, feeds: Feeds, expected: Feeds) -> Explanation:
        """Whether padding is to blame: the framework itself is asked about the padded input."""
        sizes = self.sizes_of(feeds)
        name = self.choose(sizes)
        bucket = self._buckets[name]
        asked = ", ".join(f"{dim}={sizes[dim]}" for dim in bucket)
        rows = [("bucket", f"{name}, for {asked}")]
        if all(sizes[dim] == size for dim, size in bucket.items()):
            return Explanation(rows)
        try:
            own = self.cut(self._source.run(self.padded(feeds, sizes, bucket), model.signature), sizes)
        except ReferenceRefused as error:
            return Explanation([*rows, ("framework, padded", f"refuses the padded input: {error}")])
        rows.append(("framework, padded", apart(expected, own)))
        if not is_apart(expected, own):
            return Explanation(rows, f"only the file of {name} minds the padding, the framework does not")
        rows.append(
            ("way out", "give the model a mask input and use it, or cut the range of dims= to the sizes of the buckets")
        )
        return Explanation(
            rows, "padding changes the answer: the framework itself, given the padded input, differs too"
        )


def _filler(spec: TensorSpec) -> Any:
    """0, or what of the declared range is nearest to it."""
    if spec.dtype in ("string", "bool"):
        return "" if spec.dtype == "string" else False
    low = 0 if spec.low is None else spec.low
    high = 0 if spec.high is None else spec.high - ("int" in spec.dtype)
    return low if low > 0 else min(high, 0)


def export_buckets(
    workshop: Workshop,
    source: Source,
    signature: Signature,
    variant: Variant,
    buckets: Sequence[Sizes],
    domains: tuple[str, ...],
) -> BucketedModel:
    """Export one file for every bucket.

    Raises:
        SpecError: a bucket names no dim, none holds the largest sizes, or an output's dims have to be declared.
        Finding: an export failed or broke its contract.
    """
    check_buckets(buckets, signature.dims)
    names = {"-".join(f"{dim}{size}" for dim, size in bucket.items()): bucket for bucket in buckets}
    parts: dict[str, OnnxModel] = {}
    for name, bucket in names.items():
        parts[name] = workshop.export(source, at_sizes(signature, bucket), variant, domains=domains)
    first = next(iter(parts.values()))
    named = signature.with_outputs(list(first.signature.outputs or {}))
    outputs = _output_dims(source, named, buckets[0])
    provenance = {
        "source": source.label,
        "framework": source.framework,
        "export_s": round(sum(part.provenance.get("export_s") or 0.0 for part in parts.values()), 3),
        "buckets": [dict(bucket) for bucket in buckets],
        "cacheable": all(part.provenance.get("cacheable", True) for part in parts.values()),
    }
    composition = Buckets(named, names, outputs, source)
    return BucketedModel(composition, parts, named, source, first.variant, provenance, provider=workshop.provider)


def _output_dims(source: Source, signature: Signature, bucket: Sizes) -> dict[str, tuple[DimExpr, ...]]:
    """The dims of every output: declared, or seen.

    Raises:
        SpecError: an axis that follows the sizes in a way that has to be declared.
    """
    declared = {name: spec.shape for name, spec in (signature.outputs or {}).items() if spec is not None}
    undeclared = [name for name in signature.outputs or {} if name not in declared]
    if not undeclared:
        return declared
    maker, seen = Maker(signature), {name: [] for name in undeclared}  # type: ignore[var-annotated]
    for index, sizes in enumerate(probe_sizes(maker)):
        try:
            outputs = source.run(maker.feeds(maker.plain(sizes, index)), signature)
        except ReferenceRefused as error:
            if not index:
                raise SourceError(f"{source.label} refuses its own example inputs: {error}") from error
            continue
        for name in undeclared:
            seen[name].append((sizes, outputs[name].shape))
    found = observed_dims(seen, signature.dims)
    for name, dims in found.items():
        for axis, dim in enumerate(dims):
            if set(dim.names) - set(signature.dims):
                sizes_seen = sorted({shape[axis] for _, shape in seen[name]})
                raise SpecError(
                    f"buckets: output {name!r} axis {axis} follows the sizes "
                    f"({', '.join(map(str, sizes_seen[:4]))}, ...) but is none of {', '.join(signature.dims)}; "
                    "declare it, so that padding can be cut off: "
                    f"outputs={{{name!r}: 'dtype[..., {next(iter(bucket))} // 2, ...]'}}"
                )
    return {**declared, **found}
