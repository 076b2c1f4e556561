"""The ONNX file and its provenance; the content-addressed store that keeps exports between runs."""
