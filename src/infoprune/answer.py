"""Answer: what a model says about its inputs, and by which law its numbers are to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from infoprune.demand import Law
from infoprune.errors import InputError


@dataclass(frozen=True)
class Answer:
    """The parameters of a distribution over the last axis, with gradient.

    Args:
        values: what is differentiated.
        law: "softmax" (one of several), "sigmoid" (any of several), "gaussian" (a number, or a point, with variance 1).
        counts: which of the distributions count: not those at padding; broadcasts over `values` but for the last axis.
    """

    values: Float[Tensor, "*batch k"]
    law: Law
    counts: Bool[Tensor, ...]

    @property
    def draws(self) -> int:
        """How many samples are enough: one where a distribution stands at every token, since these average out."""
        return 1 if self.values.ndim > 2 and self.counts.shape[-1] > 1 else 4


def answer_of(model: PreTrainedModel, output: Mapping[str, Any], mask: Bool[Tensor, "batch length"]) -> Answer:
    """Reads a model's output.

    A class or a label by softmax or sigmoid, as config.problem_type says; one output is a regression; start and end of
    an answer are two softmaxes over the real tokens; a softmax at every token counts at the real ones; a model without
    a head answers with its embedding, the mean of its last hidden states over the real tokens scaled to length 1.

    Raises:
        InputError: the output has none of these, or is not finite.
    """
    answer = _read(model, output, mask)
    if not torch.isfinite(answer.values).all():
        raise InputError(
            "the model's logits are not finite on the calibration inputs, expected finite numbers; "
            "try the model in float32, and look at the inputs"
        )
    return answer


def _read(model: PreTrainedModel, output: Mapping[str, Any], mask: Bool[Tensor, "batch length"]) -> Answer:
    everything = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
    if "start_logits" in output:
        ends = torch.stack([output["start_logits"], output["end_logits"]], 1)
        return Answer(ends.masked_fill(~mask[:, None], torch.finfo(ends.dtype).min), "softmax", everything[:, None])
    if "logits" in output:
        logits: Tensor = output["logits"]
        problem = getattr(model.config, "problem_type", None)
        law: Law = "softmax"
        if logits.shape[-1] == 1 or problem == "regression":
            law = "gaussian"
        elif problem == "multi_label_classification":
            law = "sigmoid"
        return Answer(logits, law, mask if logits.shape[:-1] == mask.shape else everything)
    if "last_hidden_state" in output:
        return Answer(_embedding(output["last_hidden_state"], mask), "gaussian", everything)
    raise InputError(
        f"{type(model).__name__} gives {', '.join(output)}, expected logits or hidden states; "
        "load the class of its task"
    )


def _embedding(states: Float[Tensor, "batch length n"], mask: Bool[Tensor, "batch length"]) -> Float[Tensor, "batch n"]:
    weights = mask.expand(states.shape[:2])[..., None].to(states.dtype)
    mean = (states * weights).sum(1) / weights.sum(1).clamp_min(1)
    return torch.nn.functional.normalize(mean, dim=-1)
