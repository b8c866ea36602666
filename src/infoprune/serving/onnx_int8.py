"""ONNX int8: a graph with 8-bit weights, by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infoprune.serving.onnx_model import extra
from infoprune.serving.onnx_trace import quiet


def quantise(file: Path) -> Path:
    """Write a graph with 8-bit weights, one scale per unit, beside a graph in float32, and return its file.

    Activations are quantised at run time. The names of the files are those of Optimum.
    """
    small = file.with_name(f"{file.stem}_quantized{file.suffix}")
    quantization: Any = extra("onnxruntime.quantization")
    with quiet():
        quantization.quantize_dynamic(file, small, per_channel=True, weight_type=quantization.QuantType.QInt8)
    return small
