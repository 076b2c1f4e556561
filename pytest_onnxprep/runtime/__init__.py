"""ONNX Runtime sessions and what is measured on them."""
