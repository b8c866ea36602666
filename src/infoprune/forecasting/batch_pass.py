"""Batch pass: the operations and the memory of a forward and backward pass over one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedModel

from infoprune.forecasting.site_shape import SiteShape
from infoprune.forecasting.workload import Workload
from infoprune.measuring.measure import count_flops, example_batch, example_length
from infoprune.statistics.answer import read_answer
from infoprune.statistics.calibration import real_tokens
from infoprune.statistics.fisher import direction_count
from infoprune.statistics.groups import EIGHT
from infoprune.structure.offload import shape_only_copy
from infoprune.structure.site import Site


@dataclass(frozen=True)
class BatchPass:
    """Operations and memory of a pass over one batch.

    Args:
        flops: FLOPs of the forward pass.
        kept: Bytes that the graph keeps for the backward passes.
        answers: Number of outputs of the model.
        directions: Number of backward passes.
        itemsize: Bytes of an output.
        once: Whether the model has one answer per input.
    """

    flops: int
    kept: int
    answers: int
    directions: int
    itemsize: int
    once: bool

    @classmethod
    def of(cls, model: PreTrainedModel, sites: Sequence[Site], work: Workload) -> BatchPass:
        """Trace a pass on a copy of the model without values."""
        model = shape_only_copy(model)
        length = example_length(model.config, work.max_length)
        batch = example_batch(model.config, min(work.samples, work.batch_size), length)
        stack = "decoder" if model.config.is_encoder_decoder else "layers"
        own = {id(parameter) for parameter in model.parameters()}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            whole = tensor if tensor._base is None else tensor._base
            if id(whole) not in own:
                kept[id(whole)] = whole
            return tensor

        for site in sites:
            model.get_submodule(site.reader).register_forward_hook(_require_gradient)
        model.eval().requires_grad_(False)
        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
            answer = read_answer(model, model(**batch), real_tokens(batch, stack))
        saved = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
        directions = direction_count(answer.values, answer.fisher_samples, answer.law)
        size = answer.values.element_size()
        once = answer.values.ndim == 2
        return cls(count_flops(model, batch), saved, answer.values.numel(), directions, size, once)

    def bytes(self, shapes: Sequence[SiteShape], work: Workload) -> int:
        """Return the bytes of the graph, the readers' inputs and outputs, the answers and one site in float64."""
        caught = self.itemsize * sum(s.inputs + 2 * s.outputs for s in shapes)
        exact = EIGHT * max(max(2 * s.outputs, 8 * s.inputs) for s in shapes)
        return self.kept + work.tokens * (caught + exact) + self.answers * (4 * self.itemsize + 3 * EIGHT)


def _require_gradient(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output if output.requires_grad else output.requires_grad_()
