"""The naive Hypothesis test: what a good engineer writes in thirty lines, with uniform sizes and normal values."""

from __future__ import annotations

import hypothesis
import numpy as np
from hypothesis import strategies as st

from benchmarks.detection.exporting import Subject


def naive_test(subject: Subject) -> None:
    """Draw 100 examples and compare at the case's own tolerances; raises where one differs."""
    signature = subject.signature

    def array(spec, shape, rng):
        if callable(spec.values):
            return spec.values(rng, shape)
        if spec.dtype == "bool":
            return rng.random(shape) < 0.5
        if spec.dtype == "string":
            return rng.choice(np.array(["a", "bc", "def"], object), shape)
        if "int" in spec.dtype:
            high = 2 if isinstance(spec.values, str) and "mask" in spec.values else spec.high or 10
            return rng.integers(spec.low or 0, high, shape).astype(spec.dtype)
        return np.clip(rng.standard_normal(shape), spec.low, spec.high).astype(spec.dtype)

    sizes = {n: st.sampled_from([s for s in range(d.min, d.max + 1) if s in d]) for n, d in signature.dims.items()}

    @hypothesis.settings(
        max_examples=100,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.fixed_dictionaries(sizes), st.integers(0, 2**32 - 1))
    def test(sizes, seed):
        rng = np.random.default_rng(seed)
        shapes = signature.shapes(sizes)
        feeds = {name: array(spec, shapes[name], rng) for name, spec in signature.inputs.items()}
        expected = subject.reference(feeds)
        hypothesis.assume(expected is not None)
        for want, got in zip(expected, subject.run(feeds), strict=True):
            if want.dtype.kind in "fiu":
                np.testing.assert_allclose(got, want, atol=subject.case.atol, rtol=subject.case.rtol)
            else:
                np.testing.assert_array_equal(got, want)

    test()
