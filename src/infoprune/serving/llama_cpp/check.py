"""Check: refuse a model that no GGUF file can express, before any work."""

from __future__ import annotations

from transformers import PreTrainedModel

from infoprune.errors import InputError
from infoprune.serving.llama_cpp.architecture import ARCHITECTURES
from infoprune.serving.llama_cpp.layers import ATTENTION_NORM, FFN_NORM, KEY_NORM, LINEARS, QUERY_NORM
from infoprune.serving.llama_cpp.tensors import EMBEDDINGS, NORM, OUTPUT, PARAMETERS
from infoprune.structure.narrow import is_narrowed
from infoprune.structure.sites import layer_paths
from infoprune.tasks.table import task_of_class

GEMMA = "its blocks end in norms, and where sizes differ by layer llama.cpp reads none there"
WHY_NOT = {
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "phi3": "its queries, keys and values are one matrix, and llama.cpp's phi3 has one size for all layers",
    "smollm3": "some of its layers do not rotate, and llama.cpp's smollm3 has one size for all layers",
}
"""Reasons why models like the supported ones are refused, by model type."""


def check_type(model_type: str, name: str) -> None:
    """Raise InputError where a file cannot express models of this type or class.

    Args:
        model_type: Type of the model in its config.
        name: Name of its class.
    """
    task = task_of_class(name)
    if task is None or task.name != "causal-lm":
        raise InputError(
            f"{name} does not write text, expected a language model (...ForCausalLM) for a .gguf file; export this "
            "model as .onnx"
        )
    if model_type not in ARCHITECTURES:
        reason = f" ({WHY_NOT[model_type]})" if model_type in WHY_NOT else ""
        raise InputError(
            f"{model_type} models are not written as .gguf{reason}, expected one of: {', '.join(ARCHITECTURES)}; run "
            "this model in PyTorch"
        )


def check_model(model: PreTrainedModel) -> None:
    """Raise InputError where a model has what GGUF has no names for."""
    check_type(model.config.model_type, type(model).__name__)
    if is_narrowed(model):
        raise InputError(
            "the layers differ in hidden size, expected one for all in a .gguf file; prune hidden-size and not "
            "hidden-size-per-layer, or run this model in PyTorch"
        )
    if model.config.hidden_act != "silu":
        raise InputError(
            f"the activation function is {model.config.hidden_act}, expected silu, which llama.cpp has for "
            f"{model.config.model_type}; run this model in PyTorch"
        )
    known = {f"{model.base_model_prefix}.{name}" for name in (EMBEDDINGS, NORM)} | {OUTPUT}
    inner = (ATTENTION_NORM, FFN_NORM, QUERY_NORM, KEY_NORM, *LINEARS)
    known |= {f"{path}.{name}" for path in layer_paths(model) for name in inner}
    for name, _ in model.named_parameters():
        path, _, own = name.rpartition(".")
        if path not in known or own not in PARAMETERS or (path == OUTPUT and own == "bias"):
            raise InputError(
                f"the model has the weight {name}, expected only those that a {model.config.model_type} has in "
                "llama.cpp; run this model in PyTorch"
            )
