"""ONNX files with custom operators as sources: the reference side loads the library that the options name."""

from __future__ import annotations

import shutil
from textwrap import dedent

import pytest

extensions = pytest.importorskip("onnxruntime_extensions")

FILES = """
import onnx
from onnx import helper

HERE = pathlib.Path(__file__).parent

def write(name, shift):
    nodes = [
        helper.make_node("NegPos", ["x"], ["negative", "positive"], domain="ai.onnx.contrib"),
        helper.make_node("Constant", [], ["shift"], value=helper.make_tensor("shift", 1, [], [shift])),
        helper.make_node("Add", ["positive", "shift"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, 1, ["batch", 4]) for name in "xy")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    graph = helper.make_graph(nodes, "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), HERE / name)

write("relu.onnx", 0.0)
write("shifted.onnx", 0.5)
NAMED = {"ort_custom_ops": "onnxruntime-extensions"}
BESIDE = {"ort_custom_ops": "operators/libmine.so"}
"""


@pytest.fixture
def library(story):
    """A library of the user's own, beside the tests; pytest is started elsewhere."""
    (story.path / "operators").mkdir()
    shutil.copy(extensions.get_library_path(), story.path / "operators" / "libmine.so")
    return story.path


def test_a_source_with_custom_operators_passes_every_check(story):
    """By the name of the package: derived inputs, the answers of the reference, and children with the library."""
    outcome = story(
        FILES
        + dedent(
            """
        @onnx_export("relu.onnx", options=NAMED)
        @parity()
        @latency_budget(min_speedup=0.001, against="framework", max_time_s=0.1)
        @memory_budget(peak_mb=5000)
        @operators(allowed=["Add", "ai.onnx.contrib.*"])
        def test_x(onnx_model):
            assert list(onnx_model.signature.dims) == ["batch"]
            assert onnx_model.run({"x": -np.ones((2, 4), "float32")})["y"].sum() == 0
            """
        )
    )

    verdicts = {record["check"]: record["verdict"] for record in outcome.records.values()}
    assert verdicts.pop("latency") in ("pass", "inconclusive")  # as busy as the machine is
    assert verdicts == dict.fromkeys(("export", "parity", "memory", "operators"), "pass"), outcome.text


def test_a_library_is_looked_for_beside_the_test(story, library, monkeypatch, tmp_path):
    """A path, for two files that are compared, a pipeline's stage of its own, and a plain test."""
    monkeypatch.chdir(tmp_path)
    outcome = story(
        FILES
        + dedent(
            """
        @onnx_export("relu.onnx", artifact="shifted.onnx", options=BESIDE)
        @parity()
        def test_two_files(onnx_model): ...

        @onnx_export(Pipeline(["relu.onnx", Stage("shifted.onnx", options=BESIDE)]), options=NAMED)
        @parity()
        def test_pipeline(onnx_model): ...

        def test_plain(onnx_exporter):
            assert_parity(onnx_exporter("relu.onnx", options=BESIDE))
            """
        ),
        f"--rootdir={library}",
        str(library / "test_story.py"),
    )

    assert outcome.verdicts == {
        "test_two_files[none-export]": "pass",
        "test_two_files[none-parity]": "fail",
        "test_pipeline[auto-export]": "pass",
        "test_pipeline[auto-parity]": "pass",
    }, outcome.text
    assert "'y' differs by up to 0.5" in outcome.text
    outcome.result.assert_outcomes(passed=4, failed=1)  # the plain test among them


def test_variants_have_references_with_their_own_libraries(story, library):
    """Two builds of one library cannot be registered in one session: every variant has its own, also of the source."""
    outcome = story(
        FILES
        + dedent(
            """
        @onnx_export("relu.onnx", options=[NAMED, BESIDE, {}])
        @parity()
        def test_x(onnx_model): ...
            """
        ),
        "--onnxprep-isolate",
    )

    found = {name.partition("[")[2].rstrip("]"): verdict for name, verdict in outcome.verdicts.items()}
    assert found == {
        "none-options0-export": "pass",
        "none-options0-parity": "pass",
        "none-options1-export": "pass",
        "none-options1-parity": "pass",
        "none-options2-export": "error",
        "none-options2-parity": "error",
    }, outcome.text


def test_a_library_nobody_names_is_asked_for(story):
    """An operator from nowhere, and a file that is not there, say what is accepted."""
    outcome = story(
        FILES
        + dedent(
            """
        @onnx_export("relu.onnx")
        def test_unnamed(onnx_model): ...

        @onnx_export("relu.onnx", options={"ort_custom_ops": "libmine.so"})
        def test_missing(onnx_model): ...
            """
        )
    )

    assert set(outcome.verdicts.values()) == {"error"}
    assert "name the library that has its custom operators: options={'ort_custom_ops': " in outcome.text
    assert "ort_custom_ops: 'libmine.so' does not exist" in outcome.text


def test_the_onnx_oracle_knows_no_custom_operators(story):
    """The reference evaluator's own words, and what to leave out."""
    outcome = story(
        FILES
        + dedent(
            """
        @onnx_export("relu.onnx", options=NAMED)
        @parity(oracle="onnx")
        def test_x(onnx_model): ...
            """
        )
    )

    assert outcome.verdict("parity") == "error"
    assert "the ONNX reference evaluator cannot run relu.onnx: Node type 'NegPos'" in outcome.text
    assert "leave oracle= out to compare with relu.onnx" in outcome.text


TEXT_TO_TOKENS = """
    import onnx
    from onnx import TensorProto, helper
    from transformers.utils import sentencepiece_model_pb2_new as sentencepiece
    from pytest_onnxprep import TensorSpec

    def write():
        model = sentencepiece.ModelProto()
        for name, score, kind in [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("\\u2581a", -1, 1), ("a", -2, 1)]:
            model.pieces.add(piece=name, score=score, type=kind)
        model.trainer_spec.model_type = 1
        names = ["text", "nbest_size", "alpha", "no", "no", "no", "no"]
        given = [helper.make_tensor("nbest_size", TensorProto.INT64, [1], [0]),
                 helper.make_tensor("alpha", TensorProto.FLOAT, [1], [0]),
                 helper.make_tensor("no", TensorProto.BOOL, [1], [0])]
        node = helper.make_node("SentencepieceTokenizer", names, ["tokens", "rows", "from_token"],
                                domain="ai.onnx.contrib", model=model.SerializeToString())
        graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("text", TensorProto.STRING, [1])],
                                  [helper.make_tensor_value_info("tokens", TensorProto.INT32, ["n"])], given)
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.contrib", 1)]
        onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), "tokens.onnx")

    write()

    @onnx_export("tokens.onnx", inputs={"text": TensorSpec("string", "1", values=["a aa"])},
                 options={"ort_custom_ops": "onnxruntime-extensions"})
    @parity(max_examples=2)
    def test_tokens(onnx_model): pass

    def test_beside_it(): pass
"""

#: Then TensorFlow is in the process that tries files out as well.
AFTER_A_KERAS_FILE = """
    import keras

    keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]).save("net.keras")

    @onnx_export("net.keras")
    @parity(max_examples=2)
    def test_net(onnx_model): pass
"""


def test_sentencepiece_after_tensorflow(story):
    """Whose protobuf it would get, and end the process."""
    pytest.importorskip("tensorflow")
    story.write("import tensorflow\n" + dedent(AFTER_A_KERAS_FILE) + dedent(TEXT_TO_TOKENS))

    assert story.run(subprocess=True).counts() == {"pass": 4}


def test_sentencepiece_imported_after_tensorflow_by_somebody_else(story):
    """It cannot be helped any more: a clear error, and the run goes on."""
    pytest.importorskip("tensorflow")
    story.write("import tensorflow\nimport onnxruntime_extensions\n" + dedent(TEXT_TO_TOKENS))
    outcome = story.run(subprocess=True)

    assert outcome.counts() == {"error": 2}
    assert "PASSED test_story.py::test_beside_it" in outcome.text
    assert "imported after TensorFlow, beside which it may crash: import it first" in " ".join(outcome.text.split())
