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
from infoprune.statistics.micro_batches import inputs_in_micro_batch
from infoprune.statistics.segments import ANSWERS, ROWS
from infoprune.structure.embeddings import count_rows
from infoprune.structure.offload import shape_only_copy
from infoprune.structure.site import Site


@dataclass(frozen=True)
class BatchPass:
    """Operations and memory of a pass over one batch.

    Args:
        flops: FLOPs of the forward pass.
        inputs: Number of inputs.
        tokens: Number of tokens.
        kept: Bytes that the graph keeps for the backward passes.
        answers: Number of outputs of the model.
        directions: Number of backward passes.
        itemsize: Bytes of an output.
        once: Whether the model has one answer per input.
    """

    flops: int
    inputs: int
    tokens: int
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
        count = min(work.samples, work.batch_size)
        count = min(count, inputs_in_micro_batch(model, length)) if count_rows(model) else count
        batch = example_batch(model.config, count, length)
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
        size, answers = answer.values.element_size(), answer.values.numel()
        once = answer.values.ndim == 2
        return cls(count_flops(model, batch), count, count * length, saved, answers, directions, size, once)

    def graph(self, shapes: Sequence[SiteShape]) -> int:
        """Return the bytes of the graph and of the readers' inputs and outputs."""
        return self.kept + self.tokens * self.itemsize * sum(s.inputs + 2 * s.outputs for s in shapes)

    def beside(self, shapes: Sequence[SiteShape]) -> int:
        """Return the bytes of the answers, and of a reader's input while its moments are added up."""
        rows = max(4, self.itemsize) * ROWS * max(s.inputs for s in shapes)
        return self.tokens * rows + self.answers * ANSWERS * self.itemsize


def _require_gradient(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output if output.requires_grad else output.requires_grad_().clone()  # as in `taps.py`
