"""Serving: ONNX graphs and benchmarks."""
