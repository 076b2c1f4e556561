"""tf.function and SavedModel as sources: their signatures, how they are called, their fingerprints."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from pytest_onnxprep.errors import ReferenceRefused, SourceError  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.spec.signature import Signature  # noqa: E402
from pytest_onnxprep.spec.tensor import TensorSpec  # noqa: E402

SPEC = tf.TensorSpec([None, 3], tf.float32)
ONE = np.ones((1, 3), np.float32)


def signed(value=2.0, table=1.0):
    """A function of a variable, a large constant and a branch."""
    variable = tf.Variable([value, 1.0, 1.0])
    constant = tf.constant(np.full(300, table, np.float32))

    @tf.function(input_signature=[SPEC])
    def function(x):
        branch = tf.cond(tf.reduce_sum(x) > 0, lambda: x * variable, lambda: x)
        return branch + tf.reduce_sum(constant)

    function.kept = (variable, constant)
    return function


def unsigned(value=2.0):
    """A function that nobody declared the inputs of."""
    variable = tf.Variable([value, 1.0, 1.0])

    @tf.function
    def function(x):
        return x * variable

    function.kept = variable
    return function


class Holder(tf.Module):
    def __init__(self, value=2.0):
        self.weight = tf.Variable([value, 1.0, 1.0])

    @tf.function(input_signature=[SPEC])
    def signed(self, x):
        return {"y": x * self.weight}

    @tf.function
    def unsigned(self, x):
        return x * self.weight


def holder(method, value=2.0):
    """A method of an object that lives on."""
    kept = Holder(value)
    function = getattr(kept, method)
    function.kept = kept
    return function


def digest(function):
    """Its fingerprint, which is stable."""
    found = load_source(function).fingerprint()
    assert found.stable
    return found.hexdigest


def described(source):
    """Input name -> dtype[dims]."""
    return {name: str(spec) for name, spec in source.derived_signature().inputs.items()}


BUILDS = [signed, unsigned, lambda value=2.0: holder("signed", value), lambda value=2.0: holder("unsigned", value)]


@pytest.mark.parametrize("build", BUILDS)
def test_fingerprint_follows_the_variables(build):
    """Built twice it is the same, whatever TensorFlow numbered in between; another value is another model."""
    assert digest(build()) == digest(build())
    assert digest(build()) != digest(build(3.0))


def test_fingerprint_of_a_loop():
    """What a loop's condition is handed is named after its number."""

    def build():
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def count(x):
            return tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2), [0, x])[1]

        return count

    before = digest(build())
    for _ in range(12):
        build().get_concrete_function()

    assert digest(build()) == before


@pytest.mark.parametrize("build", BUILDS)
def test_assignment_changes_the_fingerprint(build):
    """A variable assigned after the first look is seen."""
    function = build()
    before = digest(function)
    kept = getattr(function.kept, "weight", function.kept)
    (kept[0] if isinstance(kept, tuple) else kept).assign([5.0, 5.0, 5.0])

    assert digest(function) != before


def test_captured_constant_changes_the_fingerprint():
    """So does a tensor made outside."""
    assert digest(signed(table=1.0)) != digest(signed(table=2.0))


def test_signature_of_a_function():
    """Names come from the parameters, open axes are batch and numbered."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.float32), tf.TensorSpec([], tf.int64)])
    def function(image, size):
        return image * tf.cast(size, tf.float32)

    source = load_source(function)

    assert described(source) == {"image": "float32[batch, image_dim1, 3]", "size": "int64[]"}
    assert source.label == "function (tf.function)"


def test_signature_of_a_method():
    """The object itself is no input."""
    assert described(load_source(holder("signed"))) == {"x": "float32[batch, 3]"}
    assert load_source(holder("unsigned")).derived_signature() is None


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ([[SPEC, SPEC]], "takes 'x' as a list; a tf.function whose parameters are single tensors"),
        ([tf.TensorSpec(None)], "has no rank"),
    ],
)
def test_signatures_that_are_not_taken(specs, words):
    """Nested parameters and unknown ranks are told with what to do."""
    with pytest.raises(SourceError) as caught:
        load_source(tf.function(lambda x: x, input_signature=specs)).derived_signature()

    assert words in str(caught.value)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("p", "q")])
def test_inputs_bind_by_name_else_in_order(names):
    """The names of the parameters bind, others go in order."""
    function = tf.function(lambda a, b: a - 10 * b)
    feeds = {name: ONE * value for name, value in zip(names, (1, 2), strict=True)}
    specs = {name: TensorSpec("float32", "n, 3") for name in names}
    found = load_source(function).run(feeds, Signature(specs))["output"]

    assert found.max() == (-8 if names == ("b", "a") else -19)


def test_refusal_is_told_apart():
    """A shape beside the signature is refused by TensorFlow."""
    source = load_source(signed())
    with pytest.raises(ReferenceRefused, match="TypeError"):
        source.run({"x": np.ones((1, 4), np.float32)}, source.derived_signature())


def test_concrete_function_is_not_taken():
    """The message says what is."""
    with pytest.raises(SourceError, match=r"accepted: the tf\.function it comes from, or the folder"):
        load_source(signed().get_concrete_function())


@pytest.fixture
def folder(tmp_path):
    """A SavedModel with one signature."""
    kept = Holder()
    tf.saved_model.save(kept, str(tmp_path / "saved"), signatures=kept.signed)
    return tmp_path / "saved"


def test_saved_model(folder):
    """It knows its inputs, runs its serving signature, and its fingerprint is that of its files."""
    source = load_source(str(folder))
    before = digest(str(folder))

    assert described(source) == {"x": "float32[batch, 3]"}
    assert source.run({"x": ONE}, source.derived_signature())["y"].tolist() == [[2, 1, 1]]
    assert source.label == "saved (SavedModel)"
    assert digest(str(folder)) == before
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / "words.txt").write_text("one")
    assert digest(str(folder)) != before


def test_signatures_of_a_saved_model(tmp_path):
    """The only one is taken; one of several by name, and the names are listed where it is another."""
    kept = Holder()
    tf.saved_model.save(kept, str(tmp_path / "one"), signatures={"other": kept.signed})
    tf.saved_model.save(kept, str(tmp_path / "two"), signatures={"other": kept.signed, "third": kept.signed})

    assert load_source(str(tmp_path / "one")).label == "one (SavedModel, signature other)"
    assert load_source("two#third", base=tmp_path).label == "two (SavedModel, signature third)"
    with pytest.raises(SourceError, match=r"has no 'serving_default' signature.* It has: other, third"):
        load_source(str(tmp_path / "two"))
    with pytest.raises(SourceError, match="has no 'thrid' signature; did you mean 'third'"):
        load_source(tmp_path / "two#thrid")
    with pytest.raises(SourceError, match="only a SavedModel folder has parts"):
        load_source(f"{__file__}#x")


def test_optimizer_of_another_keras(tmp_path, monkeypatch):
    """Slots of an optimizer whose class is not here do not stop the signatures."""
    from tensorflow.python.saved_model import load as load_module
    from tensorflow.python.trackable.autotrackable import AutoTrackable

    seen = []
    kept = Holder()
    tf.saved_model.save(kept, str(tmp_path / "net"), signatures={"serving_default": kept.signed})
    loader = load_module.Loader.__init__

    def watch(self, *arguments, **given):
        seen.append(hasattr(AutoTrackable, "add_slot"))
        loader(self, *arguments, **given)

    monkeypatch.setattr(load_module.Loader, "__init__", watch)
    load_source(str(tmp_path / "net"))

    assert seen == [True]
    assert not hasattr(AutoTrackable, "add_slot")


def test_damaged_saved_model(folder):
    """A folder with half a graph is a broken test."""
    (folder / "saved_model.pb").write_bytes(b"junk")

    with pytest.raises(SourceError, match="is damaged"):
        load_source(str(folder))
