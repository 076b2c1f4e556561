"""What a file holds, as a user's test and the reports show it."""

from __future__ import annotations

from typing import Any

import onnx


def test_the_export_item_describes_the_file_in_every_report(story: Any) -> None:
    """JSON figures and Markdown have it; a body that fails shows it; the table stays as it is."""
    outcome = story(
        """
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        def test_net(onnx_model):
            description = onnx_model.describe()
            assert description.opsets == {"ai.onnx": 17}
            assert description.coverage.share == 1
            assert "Softmax" not in onnx_model.operators
        """,
        "--onnxprep-markdown=report.md",
    )

    figures = outcome.one("export")["figures"]
    described = figures["description"]
    assert outcome.verdict("export") == "fail"
    assert described["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}]
    assert described["operators"] == figures["operators"]
    assert described["nodes"] == figures["nodes"]
    assert described["initializers"] == [{"dtype": "float32", "count": 4, "bytes": 172}]
    assert "the ONNX file" in outcome.text
    assert "value info" in outcome.text
    assert "x: float32[batch, 4]" in (story.path / "report.md").read_text()


def test_a_passing_export_prints_nothing_more(story: Any) -> None:
    """The description is there for who asks for it."""
    outcome = story.write(
        """
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        def test_net(onnx_model):
            pass
        """
    ).run("-r", "N", "-v")

    assert outcome.verdict("export") == "pass"
    assert "value info" not in outcome.text


def test_provenance_is_stamped_from_a_test(story: Any) -> None:
    """A release test writes the file it has proven; the cached one is as it was."""
    outcome = story(
        """
        def test_release(onnx_exporter):
            model = onnx_exporter(build, inputs=X, exporter="torchscript", opset=17)
            before = model.path.read_bytes()
            result = assert_parity(model, max_examples=5)
            write_metadata(model, "release/net.onnx", parity=result)
            assert model.path.read_bytes() == before
            with pytest.raises(OnnxPrepError, match="lies in the export cache"):
                model.write_metadata(model.path.with_name("other.onnx"))
        """
    )
    outcome.result.assert_outcomes(passed=1)

    stamped = {entry.key: entry.value for entry in onnx.load(str(story.path / "release/net.onnx")).metadata_props}
    assert stamped["onnxprep.source"] == "Net (torch.nn.Module)"
    assert stamped["onnxprep.exporter"] == "torchscript"
    assert '"verdict": "pass"' in stamped["onnxprep.parity"]
    assert '"torch"' in stamped["onnxprep.packages"]
