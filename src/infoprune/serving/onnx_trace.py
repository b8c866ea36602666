"""Trace: the graph of a module from tensors to tensors, in the form in which it is written."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from infoprune.serving.onnx_model import CONFIG_KEY, extra

Axes = Mapping[int, Any]
"""Dynamic axes of a tensor by number: a `torch.export.Dim`, or a hint."""

PRIVATE = ("_name_or_path", "quantization_config")
"""Fields of a config that a graph does not need: a path of this machine, and the sizes that its tensors have."""


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Sequence[Axes],
    outputs: Sequence[str],
    model: PreTrainedModel,
) -> Any:  # noqa: ANN401
    """Trace a module in float32 on the CPU; its graph carries the model's config as metadata.

    Args:
        module: Module that takes all tensors in order, and returns a tuple of tensors.
        inputs: Example inputs by the names that they get in the graph; no dynamic axis of length 0 or 1, which the
            graph would take for constant.
        axes: Dynamic axes of each input.
        outputs: Names of the outputs.
        model: Model within the module; its config and class are what others know of the graph.

    Returns:
        The graph as a message of onnx.

    Raises:
        InputError: The extra [onnx] is not installed.
    """
    extra("onnx")
    extra("onnxscript")
    with torch.no_grad(), quiet():
        program: Any = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={"tensors": tuple(dict(each) for each in axes)},
            verbose=False,
        )
    graph = program.model_proto
    for thing in (graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        thing.ClearField("metadata_props")  # stack traces, with local paths
    fields = json.loads(model.config.to_json_string(use_diff=False))
    public = {name: value for name, value in fields.items() if name not in PRIVATE}
    public["architectures"] = [type(model).__name__]
    graph.metadata_props.add(key=CONFIG_KEY, value=json.dumps(public))
    return graph


@contextmanager
def quiet() -> Iterator[None]:
    """Silence messages of the exporter that are meant for its own developers."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
