"""Method: the load-time method of transformers that opens a pruned model, registered by `registration`.

It is imported while transformers itself is being imported, so what works on models is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from infoprune.loading.sizes import METHOD, Sizes, sizes_in, write_sizes

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class PrunedSizes(QuantizationConfigMixin):
    """Value of `quantization_config` as transformers passes it on."""

    def __init__(self, sizes: Sizes) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]  # a text, as all methods from outside have
        self.sizes = sizes

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], *args: object, **kwargs: object) -> PrunedSizes:
        """Read the value in a config.json."""
        return cls(Sizes.from_dict(config_dict))

    def to_dict(self) -> dict[str, Any]:
        """Return the value for a config.json."""
        return self.sizes.to_dict()

    def __repr__(self) -> str:
        return f"PrunedSizes({self.sizes})"


class PrunedLoader(HfQuantizer):
    """Steps of `from_pretrained` that give a model its pruned sizes before its weights are read.

    Afterwards the model is a dense one of these sizes: nothing marks it as quantised, so that it trains, changes its
    precision, and can be quantised.
    """

    @property
    def _sizes(self) -> Sizes:
        given: Any = self.quantization_config
        return given.sizes  # type: ignore[no-any-return]

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: object) -> PreTrainedModel:
        from infoprune.loading.shrink import shrink

        shrink(model, self._sizes)
        return model

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: object) -> PreTrainedModel:
        return model

    def postprocess_model(self, model: PreTrainedModel, **kwargs: object) -> PreTrainedModel:
        """Fill in what the weights lack, and remove the marks of a quantised model."""
        from infoprune.loading.shrink import set_indices

        for mark in ("hf_quantizer", "quantization_method", "is_quantized"):
            vars(model).pop(mark, None)
        with torch.no_grad():
            set_indices(model, self._sizes)
        write_sizes(model.config, Sizes(self._sizes.units, self._sizes.biases))
        align(model)
        return model

    def is_serializable(self, *args: object, **kwargs: object) -> bool:
        """Return that the model can be saved."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Whether the model can be trained: as any dense one."""
        return True


def align(model: nn.Module) -> None:
    """Copy the weights from the mapped file into aligned memory, on which the last bits of products depend."""
    for tensor in (*model.parameters(), *model.buffers()):
        if not tensor.is_meta and tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def build(build_stock: Callable[..., Any], config: PretrainedConfig, options: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return a model that is built from a config without weights, with its pruned sizes.

    Args:
        build_stock: Function of transformers that builds a model of stock sizes.
        config: Config of the model.
        options: Further arguments of that function.
    """
    sizes = sizes_in(config)
    if sizes is None:
        return build_stock(config, **options)
    from infoprune.loading.shrink import shrink

    write_sizes(config, None)  # else models that build their base in the same way would get a base of other sizes
    try:
        model: PreTrainedModel = build_stock(config, **options)
    finally:
        write_sizes(config, sizes)
    with torch.no_grad():
        shrink(model, sizes)
    write_sizes(model.config, sizes)
    return model
