"""``inputs_as_nchw`` and ``outputs_as_nchw``: what is declared is NHWC, the file is NCHW, and every check agrees."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
pytest.importorskip("tf2onnx")
layers = keras.layers

from pytest_onnxprep import TensorSpec, assert_parity  # noqa: E402
from pytest_onnxprep.api import measure_latency, measure_memory  # noqa: E402
from pytest_onnxprep.errors import ContractViolation, ExporterError, SourceError, SpecError  # noqa: E402
from pytest_onnxprep.exporters.isolated import recipe_of  # noqa: E402
from pytest_onnxprep.sources.load import load_source  # noqa: E402
from pytest_onnxprep.sources.turn import Turn  # noqa: E402
from pytest_onnxprep.sources.turned import turned, unturned  # noqa: E402
from pytest_onnxprep.spec.verdict import Verdict  # noqa: E402

IMAGE = {"image": "float32[batch, h, w, 3]"}
DIMS = {"batch": (1, 3), "h": (4, 9), "w": (4, 9)}
NCHW = {"inputs_as_nchw": ["image"], "outputs_as_nchw": ["mask"]}


def segmenter():
    """A mask for every pixel, and one score per picture."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    mask = layers.Conv2D(2, 1, name="head")(x)
    return keras.Model(image, {"mask": mask, "score": layers.Dense(1)(layers.GlobalAveragePooling2D()(x))})


def shapes(values):
    """Name -> shape of a session's inputs or outputs."""
    return {value.name: value.shape for value in values}


def test_both_ends_are_turned(onnx_exporter):
    """The file and what it says are NCHW; the framework answers the same feeds; nothing is left to turn."""
    model = onnx_exporter(segmenter, inputs=IMAGE, outputs=["mask", "score"], dims=DIMS, options=NCHW)

    assert shapes(model.session.get_inputs()) == {"image": ["batch", 3, "h", "w"]}
    assert shapes(model.session.get_outputs())["mask"][1] == 2
    assert str(model.signature.inputs["image"]) == "float32[batch, 3, h, w]"
    ends = [node.op_type for node in model.proto.graph.node if {"image", "mask"} & {*node.input, *node.output}]
    assert ends == ["Conv", "Conv"]
    feeds = {"image": np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype("float32")}
    given, wanted = model.run(feeds), model.reference(feeds)
    assert given["mask"].shape == wanted["mask"].shape == (2, 2, 5, 6)
    np.testing.assert_allclose(given["mask"], wanted["mask"], atol=1e-5)
    own = segmenter()(feeds["image"].transpose(0, 2, 3, 1))["mask"].numpy()
    np.testing.assert_allclose(wanted["mask"].transpose(0, 2, 3, 1), own, atol=1e-6)


def test_checks_agree(onnx_exporter):
    """Parity with its float64, latency, memory and batches of rows, from the same signature."""
    model = onnx_exporter(segmenter, inputs=IMAGE, dims=DIMS, options=NCHW)

    assert assert_parity(model, max_examples=15).verdict is Verdict.PASS
    assert model.source.in_double(model.signature) is not None
    at = {"batch": 2, "h": 5, "w": 6}
    assert measure_latency(model, at=at, max_time_s=0.2).figures["n"] > 0
    assert measure_memory(model, at=at, children=3).figures["peak_mb"] > 0


def test_derived_inputs_and_static_sizes(onnx_exporter):
    """Where the model knows its inputs nothing but the option is written, in tf2onnx's own spelling if one likes."""

    def build():
        keras.utils.set_random_seed(0)
        return keras.Sequential([keras.Input((4, 6, 3), name="image"), layers.Conv2D(2, 3, name="out")])

    model = onnx_exporter(build, options={"inputs_as_nchw": ["image:0"]})

    assert shapes(model.session.get_inputs()) == {"image": ["batch", 3, 4, 6]}
    assert shapes(model.session.get_outputs())["out"][1:] == [2, 4, 2]
    assert assert_parity(model, max_examples=8).verdict is Verdict.PASS


def test_tf_function_and_saved_model(onnx_exporter, tmp_path):
    """Likewise, next to an input that stays as it is."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 4, 4, 3), tf.float32, name="image"),
            tf.TensorSpec((None, 4), tf.float32, name="scale"),
        ]
    )
    def scaled(image, scale):
        kernel = tf.reshape(tf.range(24.0), (2, 2, 3, 2)) / 24.0
        return {"y": tf.nn.conv2d(image, kernel, 1, "SAME") * scale[:, None, :, None]}

    holder = tf.Module()
    holder.scaled = scaled
    tf.saved_model.save(holder, str(tmp_path / "saved"), signatures=scaled)
    options = {"inputs_as_nchw": "image", "outputs_as_nchw": ["y"]}
    for source in (scaled, str(tmp_path / "saved")):
        model = onnx_exporter(source, options=options)

        assert shapes(model.session.get_inputs()) == {"image": ["batch", 3, 4, 4], "scale": ["batch", 4]}
        assert shapes(model.session.get_outputs())["y"][1:] == [2, 4, 4]
        assert assert_parity(model, max_examples=8).verdict is Verdict.PASS


def test_tflite(onnx_exporter, tmp_path):
    """A file whose pictures are channels last, as TFLite's always are."""
    path = tmp_path / "net.tflite"
    keras.utils.set_random_seed(0)
    image = keras.Input((6, 5, 3), name="image")
    net = keras.Model({"image": image}, {"mask": layers.Conv2D(2, 3, padding="same")(image)})
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(net).convert())
    model = onnx_exporter(path, options=NCHW)

    assert shapes(model.session.get_inputs()) == {"image": ["batch", 3, 6, 5]}
    assert shapes(model.session.get_outputs())["mask"][1:] == [2, 6, 5]
    assert assert_parity(model, max_examples=8).verdict is Verdict.PASS


def test_jax(onnx_exporter):
    """jax2onnx takes it, too."""
    jax = pytest.importorskip("jax")
    pytest.importorskip("jax2onnx")

    def conv(image):
        kernel = jax.numpy.arange(24.0).reshape(2, 2, 3, 2) / 24
        return {
            "y": jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        }

    options = {"inputs_as_nchw": ["image"], "outputs_as_nchw": ["y"]}
    model = onnx_exporter(jax.jit(conv), inputs=IMAGE, outputs=["y"], dims=DIMS, options=options)

    assert shapes(model.session.get_inputs()) == {"image": ["batch", 3, "h", "w"]}
    feeds = {"image": np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype("float32")}
    assert model.run(feeds)["y"].shape == (2, 2, 5, 6)
    np.testing.assert_allclose(model.run(feeds)["y"], model.reference(feeds)["y"], atol=1e-5)


def test_buckets(onnx_exporter):
    """Files of fixed sizes pad and cut along the axes of the file."""
    model = onnx_exporter(
        segmenter,
        inputs=IMAGE,
        outputs={"mask": "float32[batch, h, w, 2]", "score": None},
        dims={"batch": (1, 2), "h": (4, 4), "w": (4, 4)},
        options=NCHW,
        buckets=[{"batch": 1}, {"batch": 2}],
    )

    assert model.run({"image": np.zeros((2, 3, 4, 4), "float32")})["mask"].shape == (2, 2, 4, 4)
    assert assert_parity(model, max_examples=8).verdict is Verdict.PASS


def rows(dims, rng):
    """Pictures whose rows are counted: only channels last is right."""
    shape = (dims["batch"], dims["h"], dims["w"], 3)
    return {"image": np.broadcast_to(np.arange(dims["h"], dtype="float32")[None, :, None, None], shape).copy()}


@pytest.mark.parametrize("how", ["generate", "values", "example"])
def test_what_the_user_makes_is_channels_last(onnx_exporter, how):
    """generate=, values= and example arrays are written for the declared shape."""
    asked = []

    def values(rng, shape):
        asked.append(shape)
        return rng.normal(size=shape).astype("float32")

    inputs = {
        "generate": IMAGE,
        "values": {"image": TensorSpec("float32", "batch, h, w, 3", values=values)},
        "example": {"image": np.ones((2, 5, 6, 3), "float32")},
    }[how]
    more = {} if how == "example" else {"dims": DIMS}
    more |= {"generate": rows} if how == "generate" else {}
    model = onnx_exporter(segmenter, inputs=inputs, options=NCHW, **more)

    assert assert_parity(model, max_examples=8).verdict is Verdict.PASS
    assert all(shape[-1] == 3 for shape in asked)
    assert bool(asked) == (how == "values")
    if how == "generate":
        made = model.signature.generate({"batch": 1, "h": 4, "w": 5}, None)["image"]
        assert made.shape == (1, 3, 4, 5)
        assert made[0, 0, :, 0].tolist() == [0, 1, 2, 3]


STORY = """
import numpy as np
import keras
import tensorflow as tf
from pytest_onnxprep import TensorSpec, accuracy_budget, latency_budget, onnx_export, parity

layers = keras.layers

def build():
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3), name="image")
    return keras.Model(image, {"mask": layers.Conv2D(2, 3, padding="same", name="conv")(image)})

def samples():
    return {"image": np.ones((1, 4, 7, 3), "float32")}

def dataset():
    image = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
    yield {"image": image}, build()(image)["mask"].numpy().argmax(-1)

def right(outputs, labels):
    assert outputs["mask"].shape[-1] == 2
    return float((outputs["mask"].argmax(-1) == labels).mean())

@onnx_export(
    build,
    inputs={"image": "float32[batch, h, w, 3]"},
    dims={"batch": (1, 2), "h": (4, 7), "w": (4, 7)},
    samples=samples,
    options=[{}, {"inputs_as_nchw": ["image"], "outputs_as_nchw": ["mask"]}],
)
@parity(max_examples=8)
@accuracy_budget(metric=right, minimum=0.9, dataset=dataset)
@latency_budget(min_speedup=0.001, against="tf2onnx-opset18-options0", max_time_s=1)
def test_net(onnx_model):
    assert ("Transpose" in onnx_model.operators) == (not onnx_model.layout)
"""


def test_marks(pytester):
    """Samples and datasets are channels last for both files, and a file can be timed beside the other kind."""
    pytester.makepyfile(STORY)

    result = pytester.runpytest_inprocess("-q", "--onnxprep-json", "report.json", "--onnxprep-on-inconclusive=pass")

    told = json.loads((pytester.path / "report.json").read_text())["results"]
    found = {(one["check"], one["variant"].get("options") is not None): one for one in told}
    for check in ("export", "parity", "accuracy"):
        assert found[check, False]["verdict"] == found[check, True]["verdict"] == "pass", result.stdout.str()
    assert found["latency", True]["verdict"] in ("pass", "inconclusive"), result.stdout.str()


WRONG = """
import keras
from pytest_onnxprep import onnx_export, parity

def build():
    image = keras.Input((4, 6, 3), name="image")
    return keras.Model(image, {"y": keras.layers.ReLU(name="relu")(image)})

def wrong(context, node, name, args):
    node.type = "Abs"

@onnx_export(
    build,
    options={"inputs_as_nchw": ["image"], "custom_op_handlers": {"Relu": (wrong, [])}},
    dims={"batch": (1, 2)},
    samples=SAMPLES,
)
@parity(max_examples=12)
def test_net(onnx_model):
    pass
"""


def test_a_failure_can_be_replayed_and_pinned(pytester):
    """The replay feeds the file channels first; what is pinned is channels last, as it was declared."""
    pytester.makepyfile(WRONG.replace("SAMPLES", "None"))
    result = pytester.runpytest_inprocess("-q", "-m", "parity")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pin it*copy its samples.npz beside the test*samples='samples.npz'*"])
    folder = next(pytester.path.glob(".onnxprep/replay/*"))
    done = pytester.run(sys.executable, str(folder / "replay.py"))
    assert done.ret == 1
    done.stdout.fnmatch_lines(["y: *DIFFERS"])
    (pytester.path / "samples.npz").write_bytes((folder / "samples.npz").read_bytes())
    pytester.makepyfile(WRONG.replace("SAMPLES", "'samples.npz'"))
    result = pytester.runpytest_inprocess("-q", "-m", "parity")
    result.stdout.fnmatch_lines(["*samples.npz*"])


def test_isolated(pytester):
    """A child turns as the parent does."""
    pytester.makepyfile(STORY)

    result = pytester.runpytest_inprocess("-q", "--onnxprep-isolate", "-k", "options1 and export")

    result.assert_outcomes(passed=1)
    assert "not isolated" not in result.stdout.str()


def test_a_file_made_elsewhere(onnx_exporter, tmp_path):
    """A file that is channels first already is held to the model likewise; without the option it is refused."""
    made = onnx_exporter(segmenter, inputs=IMAGE, dims=DIMS, options=NCHW)
    path = tmp_path / "released.onnx"
    path.write_bytes(made.path.read_bytes())
    model = onnx_exporter(segmenter, inputs=IMAGE, dims=DIMS, options=NCHW, artifact=path)

    assert assert_parity(model, max_examples=6).verdict is Verdict.PASS
    with pytest.raises(ContractViolation, match=r"input 'image' axis 1 \(h\) was declared dynamic"):
        onnx_exporter(segmenter, inputs=IMAGE, dims=DIMS, artifact=path)


def test_rewritten(onnx_exporter):
    """An equivalent model is turned as the original is."""
    model = onnx_exporter(segmenter, inputs=IMAGE, dims=DIMS, options={**NCHW, "rewritten": segmenter})

    assert shapes(model.session.get_inputs()) == {"image": ["batch", 3, "h", "w"]}
    assert assert_parity(model, max_examples=6).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"inputs_as_nchw": ["picture"]},
            r"options\['inputs_as_nchw'\]: there is no input 'picture'.* of this model: image",
        ),
        (
            {"outputs_as_nchw": ["msk"]},
            r"there is no output 'msk'; did you mean 'mask'\? Outputs of this model: mask, score",
        ),
        ({"outputs_as_nchw": ["score"]}, r"'score' is of shape \[.*\], of rank 2; a picture of rank 4 is accepted"),
        ({"inputs_as_nchw": [0]}, r"must be a list of inputs, as in \['image'\], not \[0\]"),
    ],
)
def test_what_cannot_be_turned(onnx_exporter, options, message):
    """Names of nothing, ranks other than 4, numbers."""
    with pytest.raises(SpecError, match=message):
        onnx_exporter(segmenter, dims={"image_dim1": (4, 6)}, options=options)


def test_declared_ranks_are_told_at_collection(pytester):
    """With file and line, before any model is built."""
    pytester.makepyfile(
        """
        from pytest_onnxprep import onnx_export

        @onnx_export("net.keras", inputs={"x": "float32[batch, 3]"}, options={"inputs_as_nchw": ["x"]})
        def test_net(onnx_model):
            pass
        """
    )

    result = pytester.runpytest_inprocess()

    result.stdout.fnmatch_lines(["*'x' is float32?batch, 3?, of rank 2; a picture of rank 4 is accepted*"])


def test_channels_first_declared_by_mistake(onnx_exporter):
    """What the model was given is said, and how it is meant."""
    told = r"it was given image \(\d, 3, 32, 32\): options\['inputs_as_nchw'\] leaves inputs= as the model takes them"
    with pytest.raises(SourceError, match=told):
        onnx_exporter(segmenter, inputs={"image": "float32[batch, 3, 32, 32]"}, options={"inputs_as_nchw": ["image"]})


def test_other_exporters(onnx_exporter):
    """Those that cannot turn say so."""
    with pytest.raises(
        ExporterError, match=r"'keras' does not take inputs_as_nchw .* accepted for them: tf2onnx, jax2onnx"
    ):
        onnx_exporter(segmenter, inputs=IMAGE, dims=DIMS, options=NCHW, exporter="keras")


def test_parts_of_a_pipeline(onnx_exporter):
    """The parts must fit each other."""
    from pytest_onnxprep import Pipeline, Stage

    whole = Pipeline([Stage(segmenter, options=NCHW, outputs=["mask", "score"])])
    with pytest.raises(ExporterError, match=r"stage 'segmenter': a part of .* are for models of one file"):
        onnx_exporter(whole, inputs=IMAGE, dims=DIMS)


def test_the_wrapper():
    """The same object every time, another fingerprint than the model's, its recipe and its model the user's own."""
    source = load_source(segmenter)
    layout = Turn(("image",))
    found = turned(source, layout)

    assert found is turned(source, layout)
    assert turned(source, Turn()) is source
    assert turned(found, layout) is found
    assert unturned(found) is source
    assert unturned(source) is source
    assert found.fingerprint() != source.fingerprint()
    found.recipe = recipe_of("net.keras", Path())
    assert source.recipe is found.recipe
    assert found.model is source.model
    assert str(found.derived_signature().inputs["image"]) == "float32[batch, 3, image_dim1, image_dim2]"
