"""Where a failure arose: the first ONNX node that diverges, the layer and line it came from, and who is to blame."""
