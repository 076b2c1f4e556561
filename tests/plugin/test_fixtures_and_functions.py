"""``onnx_model``, ``onnx_exporter``, and the functions for tests without marks."""

from __future__ import annotations

import pytest

EXPORT = '@onnx_export(build, inputs=X, outputs={"probs": "float32[batch, 3]"}, exporter="torchscript", opset=17)\n'

BODIES = {
    "path": "assert isinstance(m.path, pathlib.Path) and m.path.name == 'model.onnx' and m.path.is_file()",
    "proto": "assert m.proto.graph.input[0].name == 'x' and len(m.proto.graph.initializer) == 4",
    "session": "assert m.session.run(None, {'x': np.ones((3, 4), 'f')})[0].shape == (3, 3)",
    "signature": "assert list(m.signature.inputs) == ['x'] and m.signature.dims['batch'].max == 8",
    "opset": "assert m.opset == 17",
    "operators": "assert m.operators['Gemm'] == 2 and m.operators['Softmax'] == 1 and 'Loop' not in m.operators",
    "size_bytes": "assert m.size_bytes == m.path.stat().st_size",
    "provenance": "assert m.provenance['exporter'] == 'torchscript' and m.provenance['opset'] == 17",
    "provenance is JSON": "import json; assert 'torch' in json.dumps(dict(m.provenance))",
    "run": "assert list(m.run({'x': np.ones((3, 4), 'f')})) == ['probs']",
    "reference": (
        "f = {'x': np.ones((3, 4), 'f')}; "
        "np.testing.assert_allclose(m.run(f)['probs'], m.reference(f)['probs'], atol=1e-6)"
    ),
    "checker": "import onnx; onnx.checker.check_model(m.proto)",
    "dim names": "assert m.proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == 'batch'",
    "output dim names": "assert m.proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param == 'batch'",
    "repr": "assert 'Net' in repr(m) and 'torchscript-opset17' in repr(m)",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_onnx_model_has(story, body):
    """Each attribute holds what its name says."""
    outcome = story(f"{EXPORT}def test_x(onnx_model):\n    m = onnx_model\n    {body}\n")

    assert outcome.counts() == {"pass": 1}


def test_the_file_of_the_cache_is_protected(story):
    """A body that writes into the model's file does not spoil the cache for the next run."""
    outcome = story(
        EXPORT + "def test_x(onnx_model): assert not onnx_model.path.stat().st_mode & 0o222", "--onnxprep-no-cache"
    )

    assert outcome.counts() == {"pass": 1}


PLAIN = """
def test_x(onnx_exporter):
    model = onnx_exporter({source}, inputs=X, exporter="torchscript", opset=17{more})
    {body}
"""


@pytest.mark.parametrize("source", ["build", "build()"])
def test_onnx_exporter(story, source):
    """It takes a factory or a model, and gives an OnnxModel; no mark is needed and no record is made."""
    outcome = story(PLAIN.format(source=source, more="", body="assert model.run({'x': np.ones((2, 4), 'f')})"))

    outcome.result.assert_outcomes(passed=1)
    assert outcome.records == {}


def test_onnx_exporter_uses_the_cache(story):
    """A second run finds what the first one exported; other outputs are another file."""
    own = {"cache": False}
    runs = [
        story(
            PLAIN.format(source="build", more=more, body=f"assert model.cached is {cached}"),
            "--onnxprep-cache=own",
            **own,
        )
        for more, cached in [("", False), ("", True), (", outputs=['p']", False)]
    ]

    for run in runs:
        run.result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ("build, inputs=X, opset=[17, 18]", "one opset"),
        ("build, inputs=X, exporter='torch'", "unknown exporter 'torch'"),
        ("build, inputs=X, opset=99", "99"),
        ("'nowhere.onnx'", "does not exist"),
        ("lambda: 3, inputs=X", "no model"),
        ("build, inputs={'x': 'float32[batch, '}", "malformed shape"),
        ("build", "inputs={"),
    ],
)
def test_onnx_exporter_tells_what_is_wrong(story, arguments, needed):
    """The same errors as with marks, raised where the user called."""
    outcome = story(f"def test_x(onnx_exporter): onnx_exporter({arguments})")

    outcome.result.assert_outcomes(failed=1)
    assert needed in outcome.text
    assert "def test_x(onnx_exporter)" in outcome.text


def test_assert_parity(story):
    """It returns the passing result with its figures."""
    body = "r = assert_parity(model, max_examples=20); assert r.figures['examples'] == 20 and r.verdict.value == 'pass'"

    story(PLAIN.format(source="build", more="", body=body)).result.assert_outcomes(passed=1)


def test_assert_parity_raises_a_parity_error(story):
    """A mismatch raises ParityError, an AssertionError, with the smallest example."""
    body = (
        "with pytest.raises(ParityError) as caught: assert_parity(model)\n"
        "    assert isinstance(caught.value, AssertionError)\n"
        "    assert caught.value.result.figures['minimal']['dims']['batch'] == 5"
    )

    story(PLAIN.format(source="build_branches", more="", body=body)).result.assert_outcomes(passed=1)


def test_assert_parity_tells_in_a_plain_test(story):
    """Uncaught, it fails the test with the whole story."""
    outcome = story(PLAIN.format(source="build_branches", more="", body="assert_parity(model, atol=1e-3)"))

    outcome.result.assert_outcomes(failed=1)
    assert "batch=5" in outcome.text
    assert "would pass with" in outcome.text


def test_assert_parity_with_own_samples(story):
    """samples= are checked first and named in the failure."""
    body = (
        "with pytest.raises(ParityError, match='sample 0'):\n"
        "        assert_parity(model, max_examples=1, samples=lambda: {'x': np.zeros((7, 4), 'f')})"
    )

    story(PLAIN.format(source="build_branches", more="", body=body)).result.assert_outcomes(passed=1)


@pytest.mark.parametrize("arguments", ["atol=-1", "max_examples=0", "oracle='x'", "tolerance=3"])
def test_assert_parity_refuses_bad_arguments(story, arguments):
    """Malformed arguments are no ParityError."""
    body = f"with pytest.raises((SpecError, TypeError)): assert_parity(model, {arguments})"

    story(PLAIN.format(source="build", more="", body=body)).result.assert_outcomes(passed=1)


def test_measure_latency(story):
    """It times the model and judges budgets where there are any."""
    body = (
        "from pytest_onnxprep import measure_latency\n"
        "    free = measure_latency(model, at={'batch': 2}, max_time_s=0.1)\n"
        "    held = measure_latency(model, p95_ms=500, max_time_s=0.2)\n"
        "    assert free.figures['n'] == len(free.samples_s) > 0 and free.verdict.value == 'pass'\n"
        "    assert held.verdict.value == 'pass' and held.figures['p50_ms'] < 500\n"
        "    with pytest.raises(SpecError, match='bach'): measure_latency(model, at={'bach': 2})\n"
        "    with pytest.raises((SpecError, TypeError)): measure_latency(model, p95_s=3)"
    )

    story(PLAIN.format(source="build", more="", body=body)).result.assert_outcomes(passed=1)


def test_feeds_in_a_property_test(story):
    """``strategies.feeds`` draws inputs the model takes, for @given."""
    outcome = story("""
        from hypothesis import HealthCheck, given, settings
        from pytest_onnxprep import strategies
        SPEC = TensorSpec("float32", "batch, 4", low=-2, high=2)
        SIGNATURE = Signature({"x": SPEC}, dims={"batch": Dim(2, 6, multiple_of=2)})
        SEEN = set()

        @settings(max_examples=60, database=None)
        @given(feeds=strategies.feeds(SIGNATURE))
        def test_x(feeds):
            x = feeds["x"]
            SEEN.add(len(x))
            assert x.dtype == np.float32 and x.shape[1] == 4 and (abs(x) <= 2).all()

        def test_y(): assert SEEN == {2, 4, 6}

        def test_z(onnx_exporter):
            model = onnx_exporter(build, inputs={"x": SPEC}, exporter="torchscript", opset=17)
            @settings(max_examples=10, database=None)
            @given(strategies.feeds(model.signature, special_values=True))
            def agrees(feeds):
                got, want = model.run(feeds), model.reference(feeds)
                np.testing.assert_allclose(got["output"], want["output"], atol=1e-5)
            agrees()
        """)

    outcome.result.assert_outcomes(passed=3)


def test_feeds_shrink_to_the_smallest(story):
    """Hypothesis reports the smallest size that fails."""
    outcome = story("""
        from hypothesis import given, settings
        from pytest_onnxprep import strategies
        SIGNATURE = Signature({"x": TensorSpec("float32", "batch, 4")}, dims={"batch": Dim(1, 300)})
        @settings(database=None)
        @given(strategies.feeds(SIGNATURE))
        def test_x(feeds): assert len(feeds["x"]) < 7, f"size {len(feeds['x'])}"
        """)

    assert "AssertionError: size 7" in outcome.text


def test_the_public_names():
    """What the documentation shows can be imported from the package."""
    import pytest_onnxprep

    for name in ("Dim", "TensorSpec", "onnx_export", "parity", "latency_budget", "size_budget", "assert_parity"):
        assert name in dir(pytest_onnxprep)
        assert callable(getattr(pytest_onnxprep, name))
    assert callable(pytest_onnxprep.measure_latency)
    assert callable(pytest_onnxprep.strategies.feeds)
