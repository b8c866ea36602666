"""OnnxModel: a .onnx file with the interface of a PyTorch model, evaluated and timed by the same code."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig
from transformers.utils.generic import ModelOutput

from infoprune.errors import InputError, reason_of
from infoprune.files.extras import extra_module

SUFFIX = ".onnx"
CONFIG_KEY = "infoprune.config"
"""Metadata key of an exported graph for the config of its model, as JSON."""
PAST, PRESENT = "past_key_values.", "present."
"""What the names of cached keys and values begin with, before and after the tokens of a call, as Optimum has them."""


class OnnxModel(nn.Module):
    """Graph that onnxruntime runs on the CPU.

    Args:
        file: The .onnx file.
        threads: Threads of one operation; by default as many as PyTorch uses.

    Attributes:
        config: Config of the exported model; None where another program wrote the file.
        inputs: Names of the graph's inputs.
        caches: Whether the graph takes a cache of keys and values.

    Raises:
        InputError: The file does not exist, onnxruntime is not installed, or the file cannot be opened.

    Examples:
        >>> OnnxModel("small.onnx")(**tokenizer("A fine film.", return_tensors="pt")).logits
        tensor([[-1.2, 1.4]])
    """

    def __init__(self, file: str | PathLike[str], *, threads: int | None = None) -> None:
        super().__init__()
        path = Path(file)
        if not path.is_file():
            raise InputError(f"there is no file {path}, expected one written by infoprune export; check the path")
        runtime: Any = extra("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.log_severity_level = 3
        # Threads that wait for the next call would take cores from the models that are timed beside this one.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # The errors of onnxruntime have no other common class.
            raise InputError(f"{path} cannot be opened by onnxruntime ({reason_of(error)}); export it again") from None
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        outputs = {value.name: value.shape for value in self._session.get_outputs()}
        self._outputs = list(outputs)
        self._cache = {
            name.replace(PRESENT, PAST): (shape[1], shape[3])
            for name, shape in outputs.items()
            if name.startswith(PRESENT)
        }
        self.caches = bool(self._cache)
        self.config = _config(self._session.get_modelmeta().custom_metadata_map.get(CONFIG_KEY), path)

    def forward(self, **given: Tensor) -> ModelOutput:
        """Run the graph on a batch; token types, positions and a cache that are not given are as in transformers.

        Args:
            **given: Tensors by name: texts (inputs, tokens), pictures (inputs, channels, height, width).

        Raises:
            InputError: The graph takes other inputs.
        """
        given = self._completed(given)
        if given.keys() != set(self.inputs):
            shown = ", ".join(name for name in self.inputs if name not in self._cache)
            raise InputError(
                f"the graph takes {shown}, not {', '.join(name for name in given if name not in self._cache)}; "
                "use the tokenizer of the model that was exported"
            )
        answers = self._session.run(self._outputs, {name: tensor.cpu().numpy() for name, tensor in given.items()})
        return ModelOutput({name: torch.from_numpy(x) for name, x in zip(self._outputs, answers, strict=True)})

    def _completed(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        ids = given.get("input_ids")
        if ids is None:
            return given
        if "token_type_ids" in self.inputs:
            given = {"token_type_ids": torch.zeros_like(ids), **given}
        if self._cache and not given.keys() & self._cache.keys():
            empty = {name: torch.zeros(len(ids), heads, 0, size) for name, (heads, size) in self._cache.items()}
            given = {**given, **empty}
        if self._cache and "position_ids" in self.inputs:
            before = next(given[name].shape[2] for name in self._cache if name in given)
            given = {"position_ids": torch.arange(before, before + ids.shape[1]).expand(ids.shape), **given}
        return given


def extra(module: str) -> Any:  # noqa: ANN401
    """Import a module of the extra [onnx].

    Raises:
        InputError: It is not installed.
    """
    return extra_module(module, "onnx", f"{SUFFIX} files")


def _config(text: str | None, path: Path) -> PretrainedConfig | None:
    if text is None:
        return None
    try:
        config: PretrainedConfig = AutoConfig.for_model(**json.loads(text))
    except Exception as error:
        # Config classes check their arguments in different ways.
        raise InputError(f"{path}: its config cannot be read ({type(error).__name__}); export it again") from None
    return config
