"""SavedModels: what acts outside the model is refused, and what never ends or takes all memory runs elsewhere first."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pytest_onnxprep.errors import SourceError
from pytest_onnxprep.sources import trial
from pytest_onnxprep.sources.load import load_source
from pytest_onnxprep.spec.signature import Signature
from pytest_onnxprep.spec.tensor import TensorSpec

tf = pytest.importorskip("tensorflow")
SPEC = [tf.TensorSpec((None, 4), tf.float32, name="x")]
FEEDS = {"x": np.ones((2, 4), np.float32)}


def saved(folder, body, attributes=None):
    """A SavedModel whose one signature is this body."""
    module = tf.Module()
    for name, value in (attributes or {}).items():
        setattr(module, name, value)
    module.call = tf.function(lambda x: {"y": body(module, x)}, input_signature=SPEC, autograph=False)
    path = folder / "saved"
    tf.saved_model.save(module, str(path), signatures=module.call.get_concrete_function())
    return path


def after(operation, x):
    """A result that waits for an operation."""
    with tf.control_dependencies([operation]):
        return x + x


def ending(_, x):
    """The process is gone, with exit status 0."""
    return after(tf.raw_ops.Abort(error_msg="bye", exit_without_error=True), x)


def printing(proof):
    """A file that tf.print writes."""
    return lambda _, x: after(tf.print("written", output_stream=f"file://{proof}"), x)


def summing_up(proof):
    """A folder of TensorBoard's."""
    writer = tf.raw_ops.SummaryWriter
    return lambda _, x: after(
        tf.raw_ops.CreateSummaryFileWriter(
            writer=writer(shared_name="a", container=""),
            logdir=str(proof),
            max_queue=1,
            flush_millis=1,
            filename_suffix="x",
        ),
        x,
    )


def checkpointing(proof):
    """A checkpoint; every SavedModel holds the operator, for its own saver."""
    return lambda _, x: after(
        tf.raw_ops.SaveV2(prefix=str(proof), tensor_names=["a"], shape_and_slices=[""], tensors=[x]), x
    )


def merging(proof):
    """Likewise."""
    return lambda _, x: after(
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[f"{proof}_a"], destination_prefix=str(proof)), x
    )


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda _: ending, "its graph holds Abort"),
        (printing, "its graph holds PrintV2"),
        (summing_up, "its graph holds (CreateSummaryFile|Summary)Writer"),
        (checkpointing, "what is run of it leads to SaveV2"),
        (merging, "what is run of it leads to MergeV2Checkpoints"),
    ],
)
def test_operators_that_act(tmp_path, make, named):
    """They are named, and nothing is loaded."""
    proof = tmp_path / "proof"
    path = saved(tmp_path, make(proof))

    with pytest.raises(SourceError, match=rf"{named}, which acts outside the model; nothing of it was run"):
        load_source(path)
    assert not proof.exists()


def test_operators_that_act_while_loading(tmp_path):
    """A table's creator is run by loading alone."""
    from tensorflow.python.trackable import resource

    proof = tmp_path / "proof"

    class Table(resource.CapturableResource):
        def _create_resource(self):
            if not tf.executing_eagerly():
                tf.print("written", output_stream=f"file://{proof}")
            return tf.raw_ops.HashTableV2(
                key_dtype=tf.string,
                value_dtype=tf.int64,
                shared_name="t",
                container="",
                use_node_name_sharing=False,
            )

        def _initialize(self):
            return tf.constant(1)

    def body(module, x):
        size = tf.raw_ops.LookupTableSizeV2(table_handle=module.table.resource_handle)
        return x + tf.cast(size, tf.float32)

    path = saved(tmp_path, body, {"table": Table()})
    proof.unlink(missing_ok=True)

    with pytest.raises(SourceError, match="its graph holds PrintV2"):
        load_source(path)
    assert not proof.exists()


@pytest.mark.parametrize("where", ["constant", "called"])
def test_tables_of_other_files(tmp_path, where):
    """A table is filled from an asset of the model's, and from nothing else of this machine."""
    from tensorflow.python.trackable import resource

    def fill(handle, name):
        return tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=handle, filename=name, key_index=-2, value_index=-1, vocab_size=-1, delimiter="\t"
        )

    class Table(resource.CapturableResource):
        def _create_resource(self):
            return tf.raw_ops.HashTableV2(
                key_dtype=tf.string, value_dtype=tf.int64, shared_name="", container="", use_node_name_sharing=True
            )

        def _initialize(self):
            def filled(name):
                return after(fill(self.resource_handle, name), tf.constant(1))

            return (tf.function(filled) if where == "called" else filled)(tf.constant("/etc/passwd"))

    def body(module, x):
        size = tf.raw_ops.LookupTableSizeV2(table_handle=module.table.resource_handle)
        return x + tf.cast(size, tf.float32)

    with pytest.raises(SourceError, match="leads to a table whose file is none of its assets"):
        load_source(saved(tmp_path, body, {"table": Table()}))


def test_assets_outside_the_folder(tmp_path):
    """A path that leaves the folder is not followed."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = saved(tmp_path, lambda _, x: x * 2.0)
    described = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    described.meta_graphs[0].asset_file_def.add(filename="../../../etc/passwd")
    (path / "saved_model.pb").write_bytes(described.SerializeToString())

    with pytest.raises(SourceError, match=r"its asset '\.\./\.\./\.\./etc/passwd' lies outside of it"):
        load_source(path)


def spinning(_, x):
    """A loop without an end."""
    (count,) = tf.while_loop(lambda i: i >= 0, lambda i: [(i + 1) % 1000], [tf.constant(0)])
    return x + tf.cast(count, tf.float32)


def filling(_, x):
    """Two to the fortieth numbers."""
    size = tf.reduce_sum(tf.cast(x * 0.0, tf.int64)) + (1 << 40)
    return x + tf.reduce_sum(tf.fill([size], 1.0))


@pytest.mark.parametrize(
    ("body", "said"),
    [(spinning, "did not come to an end within 3 s"), (filling, "takes more than 4 GB of memory")],
)
def test_without_measure(tmp_path, monkeypatch, body, said):
    """A child process finds out."""
    if body is spinning:
        monkeypatch.setattr(trial, "SECONDS", 3.0)
    source = load_source(saved(tmp_path, body))

    assert said in source.try_out(FEEDS, source.derived_signature())


def honest():
    """Variables, tables, random numbers, lists, loops, branches and an assertion."""
    keys, values = tf.constant([0, 1], tf.int64), tf.constant([1.0, 2.0])
    initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
    attributes = {
        "weights": tf.Variable(tf.ones((4, 4))),
        "calls": tf.Variable(0.0),
        "table": tf.lookup.StaticHashTable(initializer, -1.0),
        "dense": tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, 0.0, -1, -2),
        "generator": tf.random.Generator.from_seed(1),
    }

    def body(module, x):
        tf.debugging.assert_equal(tf.shape(x)[1], 4)
        module.calls.assign_add(1.0)
        y = x @ module.weights + 0.0 * (module.generator.normal(tf.shape(x)) + tf.random.normal(tf.shape(x)))
        array = tf.TensorArray(tf.float32, tf.shape(x)[0])
        last = tf.shape(x)[0]
        _, array = tf.while_loop(lambda i, _: i < last, lambda i, a: (i + 1, a.write(i, y[i])), (0, array))
        y = tf.cond(tf.reduce_sum(x) > 0, lambda: array.stack(), lambda: -y)
        index = tf.cast(x[:, :1], tf.int64)
        return y + module.table.lookup(index) + module.dense.lookup(index)

    return body, attributes


def test_honest_models_are_taken(tmp_path):
    """What models keep is no reason to refuse them, and they run in the child as well as here."""
    body, attributes = honest()
    source = load_source(saved(tmp_path, body, attributes))
    signature = source.derived_signature()

    assert source.try_out(FEEDS, signature) == ""
    np.testing.assert_allclose(source.run(FEEDS, signature)["y"], np.full((2, 4), 6.0), rtol=1e-6)


def test_vocabularies_among_the_assets(tmp_path):
    """A table that is filled from a file of the model's own is taken."""
    words = tmp_path / "words.txt"
    words.write_text("0\n1\n2\n")
    initializer = tf.lookup.TextFileInitializer(
        str(words), tf.int64, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    table = tf.lookup.StaticHashTable(initializer, -1)
    path = saved(tmp_path, lambda m, x: x + tf.cast(m.table.lookup(tf.cast(x, tf.int64)), tf.float32), {"table": table})
    words.unlink()
    source = load_source(path)

    np.testing.assert_array_equal(source.run(FEEDS, source.derived_signature())["y"], np.full((2, 4), 2.0))


def test_graphs_of_tensorflow_1(tmp_path):
    """Their saver stands beside the model, in the one graph there is."""
    path = tmp_path / "saved"
    script = f"""
import tensorflow.compat.v1 as tf
with tf.Graph().as_default(), tf.Session() as session:
    x = tf.placeholder(tf.float32, (None, 4), name="x")
    y = x @ tf.get_variable("w", (4, 3), use_resource=True, initializer=tf.ones_initializer())
    session.run(tf.global_variables_initializer())
    tf.saved_model.simple_save(session, {str(path)!r}, {{"x": x}}, {{"y": y}})
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    source = load_source(path)

    np.testing.assert_array_equal(source.run(FEEDS, source.derived_signature())["y"], np.full((2, 3), 4.0))


def test_errors_of_a_graph_say_what_is_wrong(tmp_path):
    """TensorFlow's first line is 'Graph execution error:' whatever happened."""
    from pytest_onnxprep.errors import ReferenceRefused

    source = load_source(saved(tmp_path, lambda _, x: tf.reshape(x, [-1, 3])))
    with pytest.raises(ReferenceRefused, match="InvalidArgumentError: Input to reshape is a tensor with 8"):
        source.run(FEEDS, source.derived_signature())


def test_parts_of_a_pipeline(tmp_path, monkeypatch):
    """They are tried out as well, before they run here."""
    from pytest_onnxprep.spec.composition import Pipeline, Stage

    monkeypatch.setattr(trial, "SECONDS", 3.0)
    path = str(saved(tmp_path, spinning))
    pipeline = load_source(
        Pipeline([Stage(lambda x: {"x": x + 1}, export=False, name="plain"), Stage(path, name="loop")])
    )

    said = "its part 'loop': it did not come to an end within 3 s"
    assert pipeline.try_out(FEEDS, Signature({"x": TensorSpec("float32", (2, 4))})) == said
